"""The last steps to pictures that are nearly right, and whether these are the only ones.

Known maps, and the weight gradients of layers with known derivatives, are piecewise linear in the pictures.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .gauss_newton import refine
from .graph import Graph
from .left import Left, layer_of, weight_gradient
from .record import Walk

POLISHING, SHORT, LONG, WORTH = 24, 50, 800, 0.97
"""Gauss-Newton steps that polish pictures, iterations of the first and of the longest linear solve, and when to go on."""
NUDGE = 3e-3
"""Change of pictures that tells whether others meet the same equations, in standard deviations."""


def polished(graph: Graph, walk: Walk, x: Tensor, ended: Callable[[Tensor], bool] = lambda x: False) -> Tensor:
    """Pictures [n, ...] after Gauss-Newton steps to the known maps, and to the equations of layers with known derivatives.

    Both are piecewise linear in the pictures. Steps are long solves: the layers between hide fine differences.

    Args:
        x: near the pictures; ended: whether pictures are known to be right, or next to it.
    """
    known = Left.of(graph, walk)
    read = [node for node in known.open if known.reads(node)]

    def rows(x: Tensor) -> tuple[Tensor, ...]:
        values = known.forward(x)
        found = (weight_gradient(layer_of(n), values[n.inputs[0]], known.deltas[n.name]) for n in read)
        return *known.there(values), *(g / known.size(n) for g, n in zip(found, read))

    wanted = [*known.wanted, *(known.gradient[layer_of(n).weight_name] / known.size(n) for n in read)]
    start = x.to(graph.dtype)
    return refine(rows, wanted, start, steps=POLISHING, iterations=LONG, first=SHORT, worth=WORTH, ended=ended)[0]


def left_open(graph: Graph, walk: Walk, x: Tensor, rng: torch.Generator) -> float:
    """The part of a small change of the pictures that `polished` does not take back: 0 where no direction is open.

    Pictures that meet all equations need not be the only ones; of open directions the steps keep what they start with.
    """
    nudge = NUDGE * float(x.std()) * torch.randn(x.shape, generator=rng)
    return float((polished(graph, walk, x + nudge) - x).norm() / nudge.norm())
