"""Activations with a dip (GELU, SiLU, Mish): they fall to a minimum and rise from there, so that a negative output has two inputs.

An output u > 0 has one input. Between the minimum and zero one input lies to its right, where most are as long as
pre-activations are small, and one to its left. Which of the two it was is decided as for a ReLU's masks, by the bias
gradient: slopes to the right are assumed, and those are moved whose price is low. The price is the log-likelihood ratio

    log p(z_right) / |f'(z_right)| - log p(z_left) / |f'(z_left)|,   p a normal density around zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

DEEP = -60.0
"""Inputs are taken to lie above; no double-precision output tells them apart from there."""
HALVINGS = 64


@dataclass(frozen=True)
class Dipped:
    """Both branches of a function that falls from zero to a minimum and rises beyond every bound."""

    function: Callable[[Tensor], Tensor]

    @property
    def bottom(self) -> float:
        """Where the minimum is."""
        low, high = -3.0, 0.0
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            falls = float(self.derivative(torch.tensor([middle], dtype=torch.float64))) < 0
            low, high = (middle, high) if falls else (low, middle)
        return low

    def derivative(self, z: Tensor) -> Tensor:
        """f'(z)."""
        with torch.enable_grad():
            at = z.detach().requires_grad_()
            return torch.autograd.grad(self.function(at).sum(), at)[0]

    def right(self, u: Tensor) -> Tensor:
        """The input to the right of the minimum."""
        bottom = torch.full_like(u, self.bottom)
        return self._between(u, bottom, u.clamp_min(0) + 1)

    def left(self, u: Tensor) -> Tensor:
        """The input to the left of the minimum; meaningless where u > 0."""
        return self._between(u, torch.full_like(u, self.bottom), torch.full_like(u, DEEP))

    def slope(self, u: Tensor) -> Tensor:
        """f' on the right."""
        return self.derivative(self.right(u))

    def twin(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """f' on the left, and the price of taking it instead; infinite where there is no second input."""
        right, left = self.right(u), self.left(u)
        here, there = self.derivative(right), self.derivative(left)
        spread = 2 * right.square().mean().clamp_min(1e-300)
        ratio = (left.square() - right.square()) / spread + torch.log(there.abs() / here.abs().clamp_min(1e-300))
        double = (u < 0) & (there < 0)
        return torch.where(double, there, here), torch.where(double, ratio, torch.inf)

    def _between(self, u: Tensor, under: Tensor, over: Tensor) -> Tensor:
        """z with f(z) = u, by bisection between an input whose output is below and one whose output is above."""
        for _ in range(HALVINGS):
            middle = (under + over) / 2
            below = self.function(middle) < u
            under, over = torch.where(below, middle, under), torch.where(below, over, middle)
        return (under + over) / 2
