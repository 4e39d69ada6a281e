"""Which way a layer is computed: by a rule of costs whose rates were measured (`benchmarks/engine.py rule`).

The choice depends on shapes alone, never on a clock, so that the same audit gives the same numbers twice.
"""

from __future__ import annotations

from .matrix import Dense
from .rule import Rule, Slot
from .unfolded import Direct, Geometry, Unfolded
from .winograd import Winograd

CALL = 8e-6
"""Seconds of one call of a small tensor operation."""
MULTIPLY = 1 / 95e9
"""Seconds a floating-point operation of a matrix product takes, where its sides are long."""
DIRECT = 1 / 110e9
"""The same of torch's convolutions, where channels are many."""
TOUCH = 0.45e-9
"""Seconds to read or write one number of a tensor that does not fit the cache."""
MOVE = 0.5e-9
"""Seconds to gather or scatter one number."""
SIDE = 10
"""A product is slower by (1 + SIDE / its shortest side)."""


def dense(weight: Slot, bias: Slot | None, rows: int, *, ghosts: bool) -> Dense:
    """A linear layer that sees `rows` rows."""
    outputs, inputs = weight.value.shape
    ghost = ghosts and _matrix(rows, outputs, inputs, True) < _matrix(rows, outputs, inputs)
    return Dense(weight, bias, rows, ghost=ghost)


def convolution(geometry: Geometry, *, ghosts: bool) -> str:
    """The name of the cheapest way."""
    costs = {name: cost for name, cost in costs_of(geometry).items() if ghosts or name != "ghost"}
    return min(costs, key=lambda name: costs[name])


def costs_of(g: Geometry) -> dict[str, float]:
    """Predicted seconds of all four passes of a convolution, by way."""
    (n, inputs), (tall, wide) = g.shape[:2], g.sides
    rows, window = n * tall * wide, g.kernel[0] * g.kernel[1] * inputs // g.groups
    costs = {"direct": _direct(g, rows, window)}
    if g.groups > 1:
        return costs
    gathering = 0.0 if window == inputs else 2 * MOVE * rows * window + 2 * MOVE * rows * window
    calls = 12 * CALL
    costs["unfolded"] = _matrix(rows, g.outputs, window) + gathering + calls
    costs["ghost"] = _matrix(rows, g.outputs, window, True) + gathering + calls
    if g.kernel == (3, 3) and g.stride == g.dilation == (1, 1) and max(g.padding) < 3:
        for m in (2, 4):
            costs[f"winograd{m}"] = _winograd(g, m)
    return costs


def _product(a: int, b: int, c: int) -> float:
    """Seconds of [a, b] @ [b, c]."""
    return CALL + 2 * a * b * c * MULTIPLY * (1 + SIDE / min(a, b, c))


def _matrix(rows: int, outputs: int, inputs: int, ghost: bool = False) -> float:
    size = outputs * inputs
    one = _product(rows, outputs, inputs) + TOUCH * size
    if ghost:
        return 6 * one + 2 * _product(rows, rows, inputs) + 2 * _product(rows, rows, outputs) + 4 * CALL
    return 7 * one + 8 * TOUCH * size


def _direct(g: Geometry, rows: int, window: int) -> float:
    narrow = min(g.outputs, g.shape[1]) // g.groups
    each = 2 * rows * window * g.outputs * DIRECT * (1 + 2 * SIDE / narrow + 4 * SIDE / max(rows, 1))
    return 7 * (each + 16 * CALL + TOUCH * window * g.outputs) + 10 * TOUCH * window * g.outputs


def _winograd(g: Geometry, m: int) -> float:
    n, inputs = g.shape[:2]
    points, tiles = (m + 2) ** 2, n * -(-g.sides[0] // m) * -(-g.sides[1] // m)
    size = inputs * g.outputs
    products = points * (_product(tiles, inputs, g.outputs) - CALL + TOUCH * size) * 7
    moved = 4 * points * tiles * inputs + 4 * m * m * tiles * g.outputs
    changed = 8 * (_product(points, points, tiles * max(inputs, g.outputs))) + 2 * _product(points, 9, size)
    return products + MOVE * moved + changed + TOUCH * size * (2 * points + 8 * 9) + 60 * CALL


def made(way: str, weight: Slot, bias: Slot | None, g: Geometry) -> Rule:
    """The rule of that way, whose layout the slot has."""
    if way == "direct":
        return Direct(weight, bias, g)
    if way.startswith("winograd"):
        return Winograd(weight, bias, g, m=int(way.removeprefix("winograd")))
    return Unfolded(weight, bias, g, ghost=way == "ghost")
