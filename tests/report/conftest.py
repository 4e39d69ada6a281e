"""`sample` and `tiny` results for every test of the reports."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from gradiometer.audit.schema import Result

SAMPLE = runpy.run_path(str(Path(__file__).with_name("sample.py")))


@pytest.fixture(scope="session")
def make_result() -> Callable[..., Result]:
    """`sample()` with its arguments."""
    return SAMPLE["sample"]


@pytest.fixture(scope="session")
def result() -> Result:
    return SAMPLE["sample"]()


@pytest.fixture(scope="session")
def tiny_result() -> Result:
    return SAMPLE["tiny"]()
