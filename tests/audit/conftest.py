"""`project`: a folder with the tiny client and its plan, as the current one."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

TINY = runpy.run_path(str(Path(__file__).with_name("tiny.py")))


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "tiny_client", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    Path("tiny_client.py").write_text(TINY["CLIENT"])
    Path("plan.toml").write_text(TINY["PLAN"])
    return tmp_path
