"""Solving f(x) = h for a known function: Gauss-Newton with conjugate gradients, and whether h determines x at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Inverse:
    """Solution x; `residual` |f(x) - h| / |h|; `determined`: the share of x that h fixes, 1 if all of it."""

    x: Tensor
    residual: float
    determined: float


def invert(function: Function, target: Tensor, start: Tensor, rng: torch.Generator, steps: int = 30) -> Inverse:
    """Solves `function(x) = target`. An affine function takes one step.

    Args:
        start: where to begin, of x's shape; use double precision.
        rng: for the direction that probes how much of x is determined.
    """
    scale = target.norm().clamp_min(1e-30)

    def off(x: Tensor) -> float:
        return float((target - function(x)).norm() / scale)

    x, error = start, off(start)
    for _ in range(steps):
        slope = _Slope(function, x)
        move = slope.least_squares(target - slope.value)
        length, trial_error = 1.0, off(x + move)
        while not trial_error < error and length > 1e-3:  # not "<": a step into overflow is no improvement
            length /= 2
            trial_error = off(x + length * move)
        if not trial_error < error:
            break
        gain, x, error = error - trial_error, x + length * move, trial_error
        if error < 1e-12 or gain < 1e-6 * error:
            break
    probe = torch.randn(x.shape, generator=rng, dtype=x.dtype)
    slope = _Slope(function, x)
    lost = probe - slope.least_squares(slope.push(probe))
    return Inverse(x=x, residual=error, determined=max(0.0, 1 - float(lost.square().sum() / probe.square().sum())))


class _Slope:
    """The Jacobian J of a function at a point, as products from one recorded graph."""

    def __init__(self, function: Function, x: Tensor) -> None:
        self._x = x.detach().requires_grad_()
        with torch.enable_grad():
            self._y = function(self._x)
            self._weights = torch.zeros_like(self._y).requires_grad_()
            # J^T w is linear in w, so its derivative by w gives products with J as well.
            self._pulled = torch.autograd.grad(self._y, self._x, self._weights, create_graph=True)[0]
        self.value = self._y.detach()

    def push(self, v: Tensor) -> Tensor:
        """J v."""
        return torch.autograd.grad(self._pulled, self._weights, v, retain_graph=True)[0]

    def pull(self, w: Tensor) -> Tensor:
        """J^T w."""
        return torch.autograd.grad(self._y, self._x, w, retain_graph=True)[0]

    def least_squares(self, target: Tensor) -> Tensor:
        """The shortest v with J v = target in the least-squares sense (CGLS)."""
        v, residual = torch.zeros_like(self._x), target
        downhill = self.pull(residual)
        direction, power = downhill, downhill.square().sum()
        first = power
        for _ in range(min(200, 2 * self._x.numel())):
            image = self.push(direction)
            size = image.square().sum()
            if power <= 1e-20 * first or not size:
                break
            v, residual = v + power / size * direction, residual - power / size * image
            downhill = self.pull(residual)
            before, power = power, downhill.square().sum()
            direction = downhill + power / before * direction
        return v.detach()
