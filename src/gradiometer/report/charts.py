"""Geometry of the charts; the template draws them. Leakage is always the upright axis, so low is good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gradiometer.audit.schema import Cell, Cost, Estimate, Result, Row

from .figures import duration, number, percent, share_interval, size
from .scales import Scale, bounded, scale
from .words import defense_name, verdict_words

LEFT, RIGHT, TOP, BOTTOM = 50.0, 366.0, 14.0, 222.0  # of the drawing of 380 x 270 in parts.html
LABEL = 13.0


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One defense in a chart: where it stands, its whiskers, its number in the key, and its story."""

    key: int
    verdict: str
    x: float
    y: float
    x_whisker: tuple[float, float] | None
    y_whisker: tuple[float, float]
    label: tuple[float, float]
    detail: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Leakage against one cost. `front` is the path along the defenses that no other one beats on both."""

    title: str
    better: str
    marks: list[Mark]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    front: str
    on_front: list[int]
    not_shown: list[int]
    why_not: str
    summary: str


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One cost: how to read it off a row and how to write it."""

    title: str
    read: Callable[[Cost], float | int | None]
    write: Callable[[float], str]
    more_is_better: bool = False
    missing: str = "Not measured:"
    limits: tuple[float, float] = (0.0, 1e12)
    estimate: Callable[[Cost], Estimate | None] = lambda cost: None


AXES = (
    Axis(
        title="Accuracy of federated training",
        read=lambda cost: cost.accuracy.value if cost.accuracy else None,
        write=percent,
        more_is_better=True,
        limits=(0.0, 1.0),
        estimate=lambda cost: cost.accuracy,
    ),
    Axis(title="Bytes a client sends each round", read=lambda cost: cost.bytes, write=size),
    Axis(title="Seconds a round", read=lambda cost: cost.seconds, write=duration),
    Axis(title="Privacy loss ε of one round", read=lambda cost: cost.epsilon, write=number, missing="No bound:"),
)


def cost_charts(result: Result, client: str) -> list[Chart]:
    """A chart for every cost that was measured for at least one defense with a leak rate."""
    rows = [row for row in result.rows if row.client == client]
    charts = (_chart(axis, rows) for axis in AXES)
    return [chart for chart in charts if chart is not None]


def _chart(axis: Axis, rows: list[Row]) -> Chart | None:
    placed = [(key, row, axis.read(row.cost), row.rate) for key, row in enumerate(rows, 1)]
    shown = [(key, row, bounded(x), rate) for key, row, x, rate in placed if x is not None and rate is not None]
    if not shown:
        return None
    widths = [(e.lower, e.upper) for e in (axis.estimate(row.cost) for row in rows) if e is not None]
    across = scale([*(x for _, _, x, _ in shown), *(v for w in widths for v in w)], LEFT, RIGHT, limits=axis.limits)
    up = Scale(low=-0.03, high=1.03, start=BOTTOM, end=TOP)
    taken: list[tuple[float, float]] = [(across(x), up(rate.value)) for _, _, x, rate in shown]
    marks = []
    for key, row, x, rate in shown:
        at, estimate = (across(x), up(rate.value)), axis.estimate(row.cost)
        label = _free_place(at, taken)
        taken.append(label)
        story = f"{key}. {defense_name(row.defense)}: {verdict_words(row)}, leak rate {share_interval(rate)}; "
        marks.append(
            Mark(
                key=key,
                verdict=row.verdict,
                x=at[0],
                y=at[1],
                x_whisker=(across(estimate.lower), across(estimate.upper)) if estimate else None,
                y_whisker=(up(rate.lower), up(rate.upper)),
                label=label,
                detail=story + f"{axis.title.lower()} {axis.write(x)}",
            )
        )
    sign = -1 if axis.more_is_better else 1
    front = _front([(sign * x, rate.value, key) for key, row, x, rate in shown if row.verdict != "INCONCLUSIVE"])
    path = [(across(sign * cost), up(leak)) for cost, leak, _ in front]
    return Chart(
        title=axis.title,
        better="right" if axis.more_is_better else "left",
        marks=marks,
        x_ticks=across.ticks(axis.write),
        y_ticks=[(up(share), percent(share)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)],
        front=_stairs(path),
        on_front=[key for _, _, key in front],
        why_not=axis.missing,
        not_shown=sorted({key for key, *_ in placed} - {key for key, *_ in shown}),
        summary=f"Leak rate against {axis.title.lower()}. " + ". ".join(mark.detail for mark in marks) + ".",
    )


def _front(points: list[tuple[float, float, int]]) -> list[tuple[float, float, int]]:
    """Those that no other beats on cost and leak, from the cheapest on. Equal ones stand there once."""
    front: list[tuple[float, float, int]] = []
    for point in sorted(points):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front


def _stairs(points: list[tuple[float, float]]) -> str:
    """The border of what is attainable: along the cost at the same leak, then down."""
    if len(points) < 2:
        return ""
    path = f"M{points[0][0]:g} {points[0][1]:g}"
    return path + "".join(f"H{x:g}V{y:g}" for x, y in points[1:])


def _free_place(at: tuple[float, float], taken: list[tuple[float, float]]) -> tuple[float, float]:
    """Where a number stands beside its mark: the place around it that is farthest from everything drawn so far."""
    around = [
        (11.0, -9.0),
        (-11.0, -9.0),
        (11.0, 11.0),
        (-11.0, 11.0),
        (0.0, -15.0),
        (0.0, 17.0),
        (17.0, 0.0),
        (-17.0, 0.0),
    ]
    places = [(at[0] + x, at[1] + y) for x, y in around]
    inside = [p for p in places if LEFT + 4 < p[0] < RIGHT and TOP < p[1] < BOTTOM - 2] or places

    def room(place: tuple[float, float]) -> float:
        return min(LABEL, min(abs(place[0] - x) + abs(place[1] - y) for x, y in taken))

    return max(inside, key=room)


def bar(rate: Estimate, tolerance: float) -> dict[str, float]:
    """Geometry of a leak rate on a line from 0 to 100: value, whisker, and what is tolerated."""
    share = Scale(low=0.0, high=1.0, start=0.0, end=100.0)
    return {
        "value": share(rate.value),
        "lower": share(rate.lower),
        "upper": share(rate.upper),
        "tolerance": share(tolerance),
    }


def curve(cell: Cell, width: float = 120.0, height: float = 32.0) -> str:
    """An objective over its iterations as a small path; empty where there is nothing to draw."""
    values = [bounded(value) for value in cell.curve]
    if len(values) < 2:
        return ""
    every = max(1, len(values) // 120)
    kept = [*values[::every], values[-1]]
    up = scale(kept, height - 2, 2.0, limits=(-1e12, 1e12))
    return "M" + "L".join(f"{width * index / (len(kept) - 1):.1f} {up(value):g}" for index, value in enumerate(kept))
