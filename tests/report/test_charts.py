"""Geometry: scales, ticks, Pareto fronts and the heat map's looks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gradiometer.audit.schema import Cell, Estimate, Result
from gradiometer.report.charts import _front, _stairs, bar, cost_charts, curve
from gradiometer.report.gallery import galleries
from gradiometer.report.heat import heat_map, silences, tile
from gradiometer.report.scales import Scale, log_ticks, round_ticks, scale


def test_scales() -> None:
    linear = Scale(low=0.0, high=10.0, start=0.0, end=100.0)
    assert [linear(value) for value in (0.0, 5.0, 10.0, 99.0, -99.0)] == [0, 50, 100, 100, 0]
    log = Scale(low=1.0, high=100.0, start=0.0, end=100.0, log=True)
    assert log(10.0) == 50
    assert scale([1.0, 1000.0], 0.0, 1.0).log
    assert not scale([0.0, 1000.0], 0.0, 1.0).log


@pytest.mark.parametrize("values", [[0.0], [5.0], [-3.0], [1e-9, 1e9], [1e300, -1e300], [0.87, 0.88]])
def test_every_value_lies_on_its_axis(values: list[float]) -> None:
    axis = scale(values, 50.0, 366.0, limits=(-1e12, 1e12))
    assert axis.low < axis.high
    assert all(50 <= axis(value) <= 366 for value in values)
    positions = [position for position, _ in axis.ticks(str)]
    assert all(50 <= position <= 366 for position in positions)


def test_ticks_are_round() -> None:
    assert round_ticks(0.0, 1.0) == [0, 0.25, 0.5, 0.75, 1]
    assert round_ticks(0.63, 0.93) == pytest.approx([0.7, 0.8, 0.9])
    assert log_ticks(0.9, 1100.0) == [1, 10, 100, 1000]
    assert log_ticks(2e4, 9e4) == [2e4, 5e4]


def test_front_holds_what_no_other_beats() -> None:
    points = [(1.0, 1.0, 1), (1.0, 0.8, 2), (2.0, 0.9, 3), (3.0, 0.1, 4), (4.0, 0.1, 5)]
    assert _front(points) == [(1.0, 0.8, 2), (3.0, 0.1, 4)]
    assert _stairs([(0.0, 0.0), (10.0, 5.0)]) == "M0 0H10V5"
    assert _stairs([(0.0, 0.0)]) == ""


def test_charts_of_the_sample(result: Result, tiny_result: Result) -> None:
    charts = {chart.title.split()[0]: chart for chart in cost_charts(result, "hospital A")}
    assert list(charts) == ["Accuracy", "Bytes", "Seconds", "Privacy"]
    # By hand: Pareto-optimal are none (0.87, 1.0), 3 bits (0.78, 0.46), noise (0.72, 0), and 8 bits (0.81, 0.96).
    assert charts["Accuracy"].on_front == [1, 3, 4, 6]
    assert charts["Accuracy"].not_shown == [5]
    assert charts["Privacy"].not_shown == [1, 2, 3, 4, 5]
    assert 5 not in charts["Bytes"].on_front  # inconclusive: it never counts
    assert 5 in [mark.key for mark in charts["Bytes"].marks]
    assert cost_charts(tiny_result, "hospital A") == []


def test_labels_keep_off_marks_and_each_other(make_result: Callable[..., Result]) -> None:
    for chart in cost_charts(make_result(defenses=7), "hospital A"):
        labels, marks = [mark.label for mark in chart.marks], [(mark.x, mark.y) for mark in chart.marks]
        for i, (x, y) in enumerate(labels):
            assert all(abs(x - u) + abs(y - v) > 8 for u, v in labels[i + 1 :] + marks)


def test_bar_and_curve() -> None:
    rate = Estimate(value=0.5, lower=0.25, upper=1.0, n=4)
    assert bar(rate, 0.1) == {"value": 50, "lower": 25, "upper": 100, "tolerance": 10}
    cell = Cell(client="c", defense="d", attack="a", informed=False, status="ok", curve=[1.0, 0.5, 0.5])
    assert curve(cell).startswith("M0.0 ")
    assert curve(cell.model_copy(update={"curve": [1.0]})) == ""


@pytest.mark.parametrize(
    ("changes", "look", "text"),
    [
        ({"rate": 0.0}, "heat0", "0"),
        ({"rate": 0.05}, "heat1", "5"),
        ({"rate": 1.0}, "heat5", "100"),
        ({"rate": 0.3, "blind_rate": 0.3}, "heat0", "30"),
        ({"rate": 1.0, "blind_rate": 1.0}, "heat0", "100"),
        ({"status": "inconclusive", "rate": 0.0}, "inconclusive", "? 0"),
        ({"status": "not_applicable"}, "not_applicable", "n/a"),
        ({"status": "missing_knowledge"}, "missing_knowledge", "no access"),
        ({"status": "ok"}, "inconclusive", "ran"),
    ],
)
def test_tiles(changes: dict, look: str, text: str) -> None:
    if "rate" in changes:
        value = changes["rate"]
        changes = changes | {"rate": Estimate(value=value, lower=value, upper=value, n=10)}
    cell = Cell(**{"client": "c", "defense": "d", "attack": "a", "informed": False, "status": "ok", **changes})
    made = tile(cell)
    assert made.look == look
    assert made.text.replace("\u00a0%", "") == text
    assert "a (naive) against d" in made.detail


def test_heat_map_has_a_tile_for_every_attacker(result: Result) -> None:
    made = heat_map(result, "hospital A")
    columns = sum(len(attackers) for _, attackers in made.columns)
    assert columns == 13
    assert all(len(tiles) == columns for _, _, tiles in made.lines)
    assert made.columns[0] == ("no defense", ["naive"])
    assert [counted for _, counted, _ in made.lines] == ["leak rate"] * 3 + ["labels"]


def test_silences_are_told_once_for_all_attacks_that_share_them(result: Result) -> None:
    told = silences(result)
    assert any(text.startswith("LinearBias, InvertingGradients, SeeThrough against Prune (informed)") for text in told)
    assert len(told) == 5


def test_gallery_keeps_the_order_and_marks_other_examples(result: Result) -> None:
    (made,) = galleries(result)
    assert [line.kind for line in made.lines] == ["best", "median", "worst"]
    assert made.defenses[0] == "no defense"
    foreign = [guess.defense for guess in made.lines[0].guesses if guess and made.lines[0].foreign(guess)]
    assert foreign == ["Prune"]
    (none,) = galleries(result, limit=0)
    assert none.lines == []
    assert none.left_out == len(result.gallery) + 3
