"""Drawings of graphs: a true graph, and what came back of it through every defense, each node at its counterpart's place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradiometer.audit.schema import Result
from gradiometer.audit.schema_shown import Drawing, Sketch

from .layout import below, laid_out, on_a_ring
from .shown import by_client_and_kind

BOND, MARGIN = 30.0, 16.0


@dataclass(frozen=True, kw_only=True)
class Plate:
    """One graph as lines (x1, y1, x2, y2) and nodes (x, y, name), each with its look: `true`, `right`, `wrong` or `missing`."""

    width: float
    height: float
    lines: list[tuple[float, float, float, float, str]]
    nodes: list[tuple[float, float, str, str]]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One kind of example: the truth (None for a captured update), and what came back through every defense."""

    kind: str
    example: str
    truth: Plate | None
    guesses: list[tuple[Drawing, Plate]]


@dataclass(frozen=True, kw_only=True)
class Drawings:
    """One client's graphs."""

    client: str
    masked: bool
    lines: list[Line]


def drawings(result: Result) -> list[Drawings]:
    """The graphs of every client that has any, undefended first."""
    found = []
    for client, kinds in by_client_and_kind(result.drawings):
        lines = []
        for kind, drawn in kinds:
            first = drawn[0]
            truth = None if first.truth is None else _true(first.truth, first.masked)
            guesses = [(one, _guessed(one)) for one in drawn]
            lines.append(Line(kind=kind, example=first.example, truth=truth, guesses=guesses))
        found.append(
            Drawings(client=client, masked=any(one.masked for _, drawn in kinds for one in drawn), lines=lines)
        )
    return found


def told(drawing: Drawing) -> str:
    """`9 of 9 nodes, 8 of 9 edges, 1 wrong, by GRAIN`; of a captured update what it claims."""
    who = f"{drawing.attack}{', informed' if drawing.informed else ''}"
    true, guessed, common = drawing.edges
    if drawing.truth is None:
        return f"{who} claims {len(drawing.guess.names)} nodes and {guessed} edges"
    nodes, wrong = sum(drawing.right), guessed - common
    parts = [f"{nodes} of {len(drawing.truth.names)} nodes", f"{common} of {true} edges"]
    return ", ".join([*parts, *([f"{wrong} wrong"] if wrong else []), f"by {who}"])


def verdict(drawing: Drawing) -> str:
    """What became of the graph, in a few words."""
    if drawing.gsm is None:
        return "not judged"
    what = "the same graph" if drawing.exact else "another graph with the same gradient" if drawing.equivalent else ""
    return ", ".join(part for part in ("leaked" if drawing.leaked else "not leaked", what) if part)


def _true(sketch: Sketch, masked: bool) -> Plate:
    count = len(sketch.names)
    places = on_a_ring(count) if masked else laid_out(count, sketch.edges)
    return _plate(places, [(i, j, "true") for i, j in sketch.edges], sketch.names, ["true"] * count)


def _guessed(drawing: Drawing) -> Plate:
    """Guessed nodes stand where their true counterparts do; what is missing is shown there too."""
    guess, truth = drawing.guess, drawing.truth or Sketch()
    known = len(truth.names)
    extra = (known + i for i in range(len(guess.names)))
    place = [next(extra) if at is None else at for at in drawing.places] or list(range(len(guess.names)))
    count = max([known, *(at + 1 for at in place)])
    said = {(min(place[i], place[j]), max(place[i], place[j])) for i, j in guess.edges}
    real = {(min(i, j), max(i, j)) for i, j in truth.edges}
    if drawing.truth is None:
        points = laid_out(count, sorted(said))
    else:
        own = on_a_ring(known) if drawing.masked else laid_out(known, sorted(real))
        points = np.concatenate([own, below(own, count - known)])
    judged = drawing.truth is not None
    lines = [(i, j, ("right" if (i, j) in real else "wrong") if judged else "true") for i, j in sorted(said)]
    lines += [(i, j, "missing") for i, j in sorted(real - said)]
    names, looks = [*truth.names, *[""] * (count - known)], ["missing"] * count
    for i, at in enumerate(place):
        names[at] = guess.names[i]
        looks[at] = ("right" if drawing.right[i] else "wrong") if judged else "true"
    return _plate(points, lines, names, looks)


def _plate(points: np.ndarray, edges: list[tuple[int, int, str]], names: list[str], looks: list[str]) -> Plate:
    if not len(points):
        return Plate(width=2 * MARGIN, height=2 * MARGIN, lines=[], nodes=[])
    at = (BOND * (points - points.min(0)) + MARGIN).round(1)
    width, height = (float(side) for side in at.max(0) + MARGIN)
    order = ("missing", "wrong", "right", "true")
    edges = sorted(edges, key=lambda edge: order.index(edge[2]))
    return Plate(
        width=width,
        height=height,
        lines=[(*at[i].tolist(), *at[j].tolist(), look) for i, j, look in edges],
        nodes=[(*at[i].tolist(), name, look) for i, (name, look) in enumerate(zip(names, looks))],
    )
