"""Comparison of two runs: known differences, and the interval of Newcombe's method 10."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from gradiometer.audit.schema import Estimate, Result
from gradiometer.report import compare, render_comparison
from gradiometer.report.compare import difference


def test_difference_is_newcombes_published_example() -> None:
    """56/70 against 48/80: 0.2000 with [0.0524, 0.3339] (Newcombe 1998, table II, method 10)."""
    first = Estimate(value=48 / 80, lower=0.4904, upper=0.7004, n=80)
    second = Estimate(value=56 / 70, lower=0.6918, upper=0.8770, n=70)
    d, lower, upper = difference(first, second)
    assert d == pytest.approx(0.2)
    assert (lower, upper) == (pytest.approx(0.0524, abs=2e-4), pytest.approx(0.3339, abs=2e-4))


def test_a_run_equals_itself(result: Result) -> None:
    comparison = compare(result, result)
    assert {change.outcome for change in comparison.changes if change.after != "–"} == {"same"}
    assert comparison.caveats == ()
    assert not comparison.of("regression") + comparison.of("lost")


def changed(result: Result, attack: str, defense: str, value: float) -> Result:
    def cell(old):
        if (old.attack, old.defense, old.informed) != (attack, defense, True) or old.rate is None:
            return old
        rate = Estimate(value=value, lower=max(0, value - 0.05), upper=min(1, value + 0.05), n=48)
        return old.model_copy(update={"rate": rate})

    return result.model_copy(update={"cells": [cell(old) for old in result.cells]})


def test_a_cell_that_leaks_more_is_a_regression_with_its_interval(result: Result) -> None:
    after = changed(result, "InvertingGradients", "Quantize(bits=3)", 0.95)
    (found,) = compare(result, after).of("regression")
    assert (found.attack, found.informed, found.severity) == ("InvertingGradients", True, "medium")
    assert found.difference is not None
    assert found.difference[0] == pytest.approx(0.49)
    assert found.difference[1] > 0
    (back,) = compare(after, result).of("improvement")
    assert back.difference is not None
    assert back.difference[0] == pytest.approx(-0.49)


def test_within_the_interval_nothing_is_shown(result: Result) -> None:
    assert not compare(result, changed(result, "InvertingGradients", "Quantize(bits=3)", 0.5)).of("regression")


def test_verdicts_that_change(result: Result) -> None:
    def with_verdict(verdict: str, level: str) -> Result:
        rows = [
            row.model_copy(update={"verdict": verdict, "level": level}) if row.defense == "GaussianNoise" else row
            for row in result.rows
        ]
        return result.model_copy(update={"rows": rows})

    (worse,) = compare(result, with_verdict("LEAKS", "high")).of("regression")
    assert (worse.figure, worse.before, worse.severity) == ("verdict", "HOLDS (under 10\u00a0%)", "high")
    (open_,) = compare(result, with_verdict("INCONCLUSIVE", "none")).of("lost")
    assert open_.after == "INCONCLUSIVE"
    (graver,) = compare(with_verdict("LEAKS", "low"), with_verdict("LEAKS", "critical")).of("regression")
    assert graver.severity == "critical"
    (better,) = compare(with_verdict("LEAKS", "low"), result).of("improvement")
    assert better.defense == "GaussianNoise"


def test_missing_cells_and_unlike_runs_are_told(make_result: Callable[..., Result], result: Result) -> None:
    fewer = make_result(defenses=3)
    assert {change.defense for change in compare(result, fewer).of("lost")} == {row.defense for row in result.rows[3:]}
    assert compare(fewer, result).of("new")
    other = result.model_copy(
        update={"seed": 1, "complete": False, "threat": result.threat.model_copy(update={"name": "label_informed"})}
    )
    told = " ".join(compare(result, other).caveats)
    assert "threats differ" in told
    assert "seed differs: 0, then 1" in told
    assert "second run was stopped" in told
    none = make_result(defenses=0, pictures=False)
    assert compare(result, none).unlike


@pytest.mark.parametrize("format", ["terminal", "md", "json"])
def test_renderings_tell_the_regression(result: Result, format: str) -> None:
    text = render_comparison(compare(result, changed(result, "InvertingGradients", "Quantize(bits=3)", 0.95)), format)
    assert "InvertingGradients" in text
    if format == "json":
        document = json.loads(text)
        assert document["changes"][0]["outcome"] == "regression"
        assert len(document["changes"][0]["difference"]) == 3
    else:
        assert "worse (medium)" in text.replace("\\", "")
        assert "+49 points" in text
