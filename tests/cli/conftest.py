"""A run folder with the sample result, and `gradiometer` as a function."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from gradiometer.audit.schema import Result
from gradiometer.cli import main
from gradiometer.report import render

SAMPLE = runpy.run_path(str(Path(__file__).parents[1] / "report" / "sample.py"))


class Said(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def gradiometer(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Runs a command line; whatever happens, no traceback may be seen."""

    def run(*words: str | Path) -> Said:
        monkeypatch.setattr("sys.argv", ["gradiometer", *map(str, words)])
        code = main([str(word) for word in words])
        said = Said(code, *capsys.readouterr())
        assert "Traceback" not in said.out + said.err
        return said

    return run


@pytest.fixture(scope="session")
def sample() -> Callable[..., Result]:
    return SAMPLE["sample"]


@pytest.fixture
def run_folder(tmp_path: Path, sample: Callable[..., Result]) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "result.json").write_text(render(sample(), "json"))
    return folder
