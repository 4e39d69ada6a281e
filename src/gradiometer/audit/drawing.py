"""Drawings: graphs beside what came back of them. Of what is not public only counts are kept: a skeleton names a molecule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradiometer.core import Data, Guess
from gradiometer.metrics.graph import Whole, counterparts
from gradiometer.metrics.score_graph import graphs

from .evidence import Case, Evidence, Record
from .modality import level_of
from .pictures import blurs
from .schema import Row
from .schema_shown import Drawing
from .setup import Setup
from .showing import shown
from .targets import Victim


def drawings(setup: Setup, victim: Victim, number: int, guess: Guess, matched: Sequence[int | None]) -> Record:
    """For a trial's record: every true graph and its guess, node by node; of a captured update the guesses alone.

    Args:
        matched: for every true graph the position of its guess, or None.
    """
    if setup.plan.audit.gallery == "none" or "adjacency" not in guess:
        return {}
    mask, offered = blurs(setup, victim), graphs(guess)
    if victim.data is None:
        pairs: list[tuple[Whole | None, Whole]] = [(None, one) for one in offered]
    else:
        real = graphs(victim.batch(number))
        nothing = Whole(nodes=real[0].nodes[:0], adjacency=real[0].adjacency[:0, :0])
        pairs = [(one, nothing if j is None else offered[j]) for one, j in zip(real, matched)]
    return {"drawings": [_told(*pair, victim.data, mask) for pair in pairs], "masked": mask}


def _told(truth: Whole | None, guess: Whole, data: Data | None, mask: bool) -> dict[str, Any]:
    real, said = [] if truth is None else _edges(truth), _edges(guess)
    places = {} if truth is None else {j: i for i, j in counterparts(guess, truth)}
    there = {tuple(sorted((places[i], places[j]))) for i, j in said if i in places and j in places}
    right = [
        truth is not None and j in places and bool((row == truth.nodes[places[j]]).all())
        for j, row in enumerate(guess.nodes)
    ]
    return {
        "truth": None if truth is None else _sketch(truth, data, mask),
        "guess": _sketch(guess, data, mask),
        "places": [places.get(j) for j in range(len(guess.nodes))],
        "right": right,
        "edges": [len(real), len(said), len(there & set(real))],
    }


def _edges(graph: Whole) -> list[tuple[int, int]]:
    return [(i, j) for i, j in graph.adjacency.triu(1).nonzero().tolist()]


def _sketch(graph: Whole, data: Data | None, mask: bool) -> dict[str, Any]:
    symbols = () if data is None or mask else data.symbols
    names = [symbols[int(row[: len(symbols)].argmax())] if symbols else "" for row in graph.nodes]
    return {"names": names, "edges": [] if mask else [list(edge) for edge in _edges(graph)]}


def drawn(setup: Setup, evidence: Evidence, rows: Sequence[Row]) -> list[Drawing]:
    """The same best, median and worst graph through every defense; what attacks claim of a captured update."""
    return [_entry(*one) for one in shown(setup, evidence, rows, "drawings")]


def _entry(case: Case, kind: Any, record: Record, number: int, example: str) -> Drawing:
    told, scores = record["drawings"][number], record.get("examples")
    score = scores[number] if scores else None
    return Drawing(
        **case._asdict(),
        **told,
        kind=kind,
        example=example,
        masked=record["masked"],
        gsm=score and score["gsm"],
        exact=bool(score and score["exact"]),
        equivalent=bool(score and score["equivalent"]),
        leaked=score is not None and level_of(score) != "none",
    )
