"""Gauss-Newton steps on maps that are piecewise linear: near the answer, where no kink is left between, one step ends them.

    x <- x + s argmin_v ||J v - (h - h(x))||^2,   s the first of 1, 1/2, 1/4, ... that lowers ||h - h(x)||

Unlike a descent it is not held up by kinks close by: each step solves one piece for good. J is never written out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .cgls import cgls

Maps = Callable[[Tensor], tuple[Tensor, ...]]


def refine(
    maps: Maps,
    wanted: Sequence[Tensor],
    x: Tensor,
    *,
    steps: int = 10,
    iterations: int = 200,
    first: int = 200,
    worth: float = 0.9,
    ended: Callable[[Tensor], bool] = lambda x: False,
) -> tuple[Tensor, float]:
    """The refined point, and the norm of its error.

    Args:
        maps: h; wanted: their values, in units in which all errors weigh alike.
        x: near the answer.
        steps: at most.
        iterations: of the linear solve, at most; `first` in the first step, and twice as many in each next one: far from
            the answer kinks spoil what a longer solve finds.
        worth: part of the error above which a step leaves too much to be worth another one.
        ended: whether a point is known to be the answer, or next to it.
    """
    error = _norm(wanted, maps(x))
    for done in range(steps):
        step = _step(maps, wanted, x, min(iterations, first * 2**done), 1e-2 * error)
        before = error
        for shorter in range(4):
            tried = x + 0.5**shorter * step
            error = _norm(wanted, maps(tried))
            if error < before:
                x = tried
                break
        if error > worth * before or ended(x):
            return x, min(error, before)
    return x, error


def _step(maps: Maps, wanted: Sequence[Tensor], x: Tensor, iterations: int, accuracy: float) -> Tensor:
    """argmin_v ||J v - (h - h(x))||; J v is the derivative by u of (J' u) v."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        there = maps(x)
        u = [torch.zeros_like(t, requires_grad=True) for t in there]
        (slope,) = torch.autograd.grad(there, [x], u, create_graph=True)

    def forward(v: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad([slope], u, [v[0]], retain_graph=True)

    def adjoint(rows: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        (pulled,) = torch.autograd.grad(there, [x], rows, retain_graph=True)
        return [pulled], pulled.square().sum()

    rest = [h - t.detach() for h, t in zip(wanted, there)]
    found, _, _ = cgls(forward, adjoint, rest, [torch.zeros_like(x)], iterations=iterations, accuracy=accuracy)
    return found[0].detach()


def _norm(wanted: Sequence[Tensor], there: Sequence[Tensor]) -> float:
    return float(torch.stack([(h - t).square().sum() for h, t in zip(wanted, there)]).sum().sqrt())
