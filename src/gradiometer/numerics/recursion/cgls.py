"""Conjugate gradients on the normal equations of an operator that is never written out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Forward = Callable[[Tensor], Sequence[Tensor]]
Adjoint = Callable[[Sequence[Tensor]], Tensor]


def cgls(
    forward: Forward,
    adjoint: Adjoint,
    right: Sequence[Tensor],
    start: Tensor,
    *,
    iterations: int,
    accuracy: float,
    lag: int = 8,
) -> tuple[Tensor, list[Tensor], int]:
    """Minimizes sum ||forward(x) - right||^2 over x.

    Stops when the last `lag` iterations have lowered the objective by less than `accuracy`^2, which estimates from
    below how far ||forward(x)|| was from its final value before them (Hestenes and Stiefel 1952).

    Args:
        start: first x; left as it is.
        accuracy: in units of the right side's rows.

    Returns:
        The minimizer, its residuals (right - forward(x)), and the iterations used.
    """
    x = start.clone()
    rest = [b - a for a, b in zip(forward(x), right)]
    slope = adjoint(rest)
    direction, size = slope, slope.square().sum()
    gains: list[float] = []
    while len(gains) < iterations and float(size) > 0:
        image = forward(direction)
        step = size / torch.stack([a.square().sum() for a in image]).sum()
        x = x + step * direction
        rest = [r - step * a for r, a in zip(rest, image)]
        slope = adjoint(rest)
        gains.append(float(step * size))
        before, size = size, slope.square().sum()
        if len(gains) > lag and sum(gains[-lag:]) < accuracy**2:
            break
        direction = slope + size / before * direction
    return x, rest, len(gains)
