"""Pictures from everything that is known where a walk ends: maps, derivatives, and the weight gradients below.

    min_x  sum_h ||h(x) - h||^2 / ||h||^2  +  sum_l ||corr(u_l(x), delta_l(x)) - dW_l||^2 / ||dW_l||^2

h are the known tensors that unknown ones enter, l the layers that read an unknown tensor, delta_l derivatives whose routes
are soft. As their softness falls to zero, the objective becomes the exact one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.numerics.lbfgs import descend

from .finishing import LONG, POLISHING, SHORT, WORTH
from .gauss_newton import refine
from .graph import Graph
from .left import Left
from .record import Walk
from .windows import NEAR, loosened

SOFTNESS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
"""t, in standard deviations of z."""
FINE = 0.003
"""Softness from which Gauss-Newton steps may lead to the pictures."""
LOST = 0.05
"""Relative error of the known maps that no descent has come near to; other starts hardly do if the maps hold few numbers."""
ENDED = 1e-5
"""Relative error of the known maps below which they have led to the pictures."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Consistent:
    """Pictures [n, ...], the relative error of the known maps that they cause, and the evaluations used."""

    x: Tensor
    error: float
    evaluations: int


def pictures(graph: Graph, walk: Walk, *, rng: torch.Generator, evaluations: int, starts: int = 3) -> Consistent:
    """Descends through falling softness, and ends with Gauss-Newton steps to the known maps; the whole batch at once.

    Args:
        graph: the walk's, in the precision to compute in.
        evaluations: upper limit, a start and softness.
        starts: how many are tried where the descent gets stuck.
    """
    known = Left.of(graph, walk)
    shape = (known.examples, *graph.nodes[graph.input].shape)
    many = sum(wanted.numel() for wanted in known.wanted) >= math.prod(shape)
    found: list[Consistent] = []
    for _ in range(starts):
        start = (0.3 * torch.randn(1, *shape, generator=rng)).to(graph.dtype)
        found.append(_descended(known, start, evaluations))
        error = found[-1].error
        if error <= ENDED or not (many or error <= LOST):
            break
    best = min(found, key=lambda one: one.error)
    return Consistent(x=best.x, error=best.error, evaluations=sum(one.evaluations for one in found))


def _descended(known: Left, x: Tensor, evaluations: int) -> Consistent:
    """From one start [1, n, ...]."""
    best, error, used = x[0], math.inf, 0
    for softness in SOFTNESS:
        soft = descend(known.objective(softness), x, evaluations=evaluations, finished=_slow)
        x, used = soft.x, used + soft.evaluations
        if softness <= FINE:
            there, left = refine(known.maps, known.wanted, x[0])
            best, error = (there, left) if left < error else (best, error)
        if error <= ENDED:
            break
    if ENDED < error <= NEAR:
        best, error = refine(known.maps, known.wanted, best, steps=POLISHING, iterations=LONG, first=SHORT, worth=WORTH)
    if ENDED < error <= NEAR:
        best, error = loosened(known, best, error, ENDED)
    return Consistent(x=best, error=error, evaluations=used)


def _slow(before: Tensor, now: Tensor) -> Tensor:
    return now > 0.99 * before
