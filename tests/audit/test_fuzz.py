"""Mutated updates, plans and result files: a message that names the file and exit code 2, never a traceback."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


def fuzz(cases: int, seed: int):
    path = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"
    spec = importlib.util.spec_from_file_location("gradiometer_fuzz", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.fuzz(cases, seed)


@pytest.mark.parametrize("cases", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_damaged_files_are_refused_with_a_message(cases):
    counted = fuzz(cases, seed=1)
    assert sum(counted.values()) == cases
    assert {outcome for _, outcome in counted} <= {"refused", "valid"}
    assert {kind for kind, outcome in counted if outcome == "refused"} == {
        "update",
        "plan",
        "result.json",
        "results.jsonl",
    }
