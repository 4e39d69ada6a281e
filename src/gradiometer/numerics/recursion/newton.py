"""Nonlinear least squares by Levenberg's damped Gauss-Newton steps, each found by conjugate gradients.

References:
    Levenberg, A method for the solution of certain non-linear problems in least squares, 1944.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

Rows = Sequence[Tensor]


@runtime_checkable
class Local(Protocol):
    """A problem at one point: residuals, and their derivative in both directions.

    Args:
        size: about the mean diagonal entry of adjoint(forward(.)).
    """

    rows: Rows
    size: float

    def forward(self, change: Tensor) -> Rows:
        """How the residuals follow a change of the point."""

    def adjoint(self, rows: Rows) -> Tensor:
        """The transpose of `forward`."""

    def inverse(self, damping: float) -> Callable[[Tensor], Tensor]:
        """Approximately that of adjoint(forward(.)) + damping."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """The point reached, the norm of its residuals, and the products with the derivative used."""

    x: Tensor
    residual: float
    products: int


def fit(
    problem: Callable[[Tensor], Local],
    start: Tensor,
    *,
    steps: int,
    damping: float,
    enough: float = 0.0,
    accuracy: float = 1e-2,
    products: int = 60,
    least: float = 1e-12,
) -> Fit:
    """Goes on until the residual is `enough`, or no step promises to lower it by a hundredth.

    Args:
        damping: of the first step, in units of the problem's size; it follows how well steps keep what the linear problem promises.
        accuracy, products: of each linear solve: relative slope left, and upper limit.
        least: lower limit of the damping.
    """
    x, used = start, 0
    here = problem(x)
    size = _size(here.rows)
    for _ in range(steps):
        if size**0.5 <= enough:
            break
        step, promised, spent = _step(here, damping * here.size, accuracy, products)
        used += spent
        if promised > 0.98 * size:
            break
        there = problem(x + step)
        new = _size(there.rows)
        kept = (size - new) / max(size - promised, 1e-300)
        damping = (
            max(damping / 4, least) if kept > 0.75 else damping * (2 if kept > 0 else 8) if kept < 0.25 else damping
        )
        if new >= size:
            if damping > 1e6:
                break
            continue
        x, here, size = x + step, there, new
    return Fit(x=x, residual=size**0.5, products=used)


def _step(here: Local, damping: float, accuracy: float, products: int) -> tuple[Tensor, float, int]:
    """The damped step, the squared residual that the linear problem promises for it, and the products used."""
    slope = -here.adjoint(here.rows)
    step, rest = torch.zeros_like(slope), slope
    inverse = here.inverse(damping)
    pushed = inverse(rest)
    direction, size = pushed, float((rest * pushed).sum())
    limit, used = accuracy**2 * size, 0
    moved = [torch.zeros_like(r) for r in here.rows]
    while used < products and size > limit:
        image = here.forward(direction)
        curved = here.adjoint(image) + damping * direction
        length = size / float((direction * curved).sum())
        step, rest = step + length * direction, rest - length * curved
        moved = [m + length * i for m, i in zip(moved, image)]
        pushed = inverse(rest)
        before, size = size, float((rest * pushed).sum())
        direction = pushed + size / before * direction
        used += 1
    return step, _size([r + m for r, m in zip(here.rows, moved)]), used


def _size(rows: Rows) -> float:
    return sum(float(r.square().sum()) for r in rows)
