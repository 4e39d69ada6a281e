"""The ranking of defenses: what is shown counts before what is hoped, and accuracy before bytes."""

from __future__ import annotations

from typing import Any

from gradiometer.audit.advice import recommendations
from gradiometer.audit.ranking import pays, ranked
from gradiometer.audit.schema import Cost, Estimate, Row


def row(
    name: str, verdict: Any, leak: tuple[float, float] | None, accuracy: float | None = 0.9, ratio: float = 1.0
) -> Row:
    """A leak rate and its upper bound; the accuracy of 0.9 without defense, known to 2 points."""
    estimate = None if leak is None else Estimate(value=leak[0], lower=0.0, upper=leak[1], n=30)
    costs = Cost(bytes_ratio=ratio)
    if accuracy is not None:
        measured = Estimate(value=accuracy, lower=accuracy - 0.02, upper=accuracy + 0.02, n=500)
        costs = Cost(
            bytes_ratio=ratio, accuracy=measured, accuracy_undefended=Estimate(value=0.9, lower=0.88, upper=0.92, n=500)
        )
    return Row(client="mine", defense=name, verdict=verdict, level="none", rate=estimate, bounds=estimate, cost=costs)


ROWS = [
    row("8 bits", "LEAKS", (1.0, 1.0), ratio=0.25),
    row("2 bits", "LEAKS", (0.7, 0.83), ratio=0.06),
    row("unlucky", "INCONCLUSIVE", None),
    row("few examples", "INCONCLUSIVE", (0.0, 0.5)),
    row("more examples", "INCONCLUSIVE", (0.0, 0.2)),
    row("deafening", "HOLDS", (0.0, 0.09), accuracy=0.3),
    row("dear", "HOLDS", (0.0, 0.09), accuracy=0.86),
    row("cheap", "HOLDS", (0.0, 0.09), ratio=0.1),
    row("long", "HOLDS", (0.0, 0.05)),
]


def test_the_order() -> None:
    order = [line.partition(":")[0] for line in ranked(ROWS)]
    assert order == [
        *("cheap", "long", "dear"),
        *("more examples", "few examples"),
        *("2 bits", "8 bits", "deafening", "unlucky"),
    ]


def test_every_line_says_what_was_shown() -> None:
    lines = {line.partition(":")[0]: line for line in ranked(ROWS)}
    assert lines["cheap"] == "cheap: held, leak rate 0%, at most 9%: accuracy +0.0 points, 10% of the bytes"
    assert lines["8 bits"].startswith("8 bits: leaks, leak rate 100%")
    assert lines["deafening"].endswith("costs too much accuracy")
    assert lines["unlucky"].startswith("unlucky: not judged")


def test_what_was_not_measured_is_not_held_against_a_defense() -> None:
    assert pays(row("unknown", "HOLDS", (0.0, 0.09), accuracy=None))
    assert not pays(row("deafening", "HOLDS", (0.0, 0.09), accuracy=0.8))


def test_a_recommendation_ends_in_the_ranking_of_what_was_tried() -> None:
    bare = row("none", "LEAKS", (1.0, 1.0))
    told = recommendations([bare, *ROWS], "honest_but_curious")[0]
    assert told.defense == "cheap"
    assert told.ranked == ranked(ROWS)
    assert recommendations([bare, ROWS[0]], "honest_but_curious")[0].ranked == []
