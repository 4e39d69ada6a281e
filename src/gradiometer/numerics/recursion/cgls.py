"""Conjugate gradients on the normal equations of an operator that is never written out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Point = list[Tensor]
Forward = Callable[[Point], Sequence[Tensor]]
Adjoint = Callable[[Sequence[Tensor]], tuple[Point, Tensor]]


def cgls(
    forward: Forward,
    adjoint: Adjoint,
    right: Sequence[Tensor],
    start: Point,
    *,
    iterations: int,
    accuracy: float,
    lag: int = 8,
) -> tuple[Point, list[Tensor], int]:
    """Minimizes sum ||forward(x) - right||^2 over x.

    Stops when the last `lag` iterations have lowered the objective by less than `accuracy`^2, which estimates from
    below how far ||forward(x)|| was from its final value before them (Hestenes and Stiefel 1952).

    Args:
        adjoint: also tells the squared norm of what it gives, so that x may be carried in any linear image of itself.
        start: first x; left as it is.
        accuracy: in units of the right side's rows.

    Returns:
        The minimizer, its residuals (right - forward(x)), and the iterations used.
    """
    x = start
    rest = [b - a for a, b in zip(forward(x), right)]
    slope, size = adjoint(rest)
    direction = slope
    gains: list[float] = []
    while len(gains) < iterations and float(size) > 0:
        image = forward(direction)
        step = size / sum(map(squared, image))
        x = [torch.addcmul(a, d, step) for a, d in zip(x, direction)]
        rest = [torch.addcmul(r, a, step, value=-1) for r, a in zip(rest, image)]
        gains.append(float(step * size))
        before = size
        slope, size = adjoint(rest)
        if len(gains) > lag and sum(gains[-lag:]) < accuracy**2:
            break
        direction = [torch.addcmul(s, d, size / before) for s, d in zip(slope, direction)]
    return x, rest, len(gains)


def squared(value: Tensor) -> Tensor:
    """Sum of squares."""
    flat = value.flatten()
    return flat.dot(flat)
