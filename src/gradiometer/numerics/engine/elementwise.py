"""Activations: y = s(z) entry by entry, with first and second derivative in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .rule import Moves, Rule

Curve = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
aten = torch.ops.aten


class Kinked(Rule):
    """ReLU, and leaky ReLU with a slope below zero: no second derivative."""

    def __init__(self, slope: float = 0.0) -> None:
        self._slope = slope

    def forward(self, *inputs: Tensor) -> Tensor:
        self._output = F.leaky_relu(inputs[0], self._slope) if self._slope else inputs[0].clamp_min(0)
        return self._output

    def _through(self, value: Tensor) -> Tensor:
        if self._slope:
            return aten.leaky_relu_backward(value, self._output, self._slope, True)
        return aten.threshold_backward(value, self._output, 0)

    def backward(self, delta: Tensor, needed: bool) -> tuple[Tensor | None, ...]:
        return (self._through(delta),)

    def tangent(self, *moves: Moves) -> Moves:
        return None if moves[0] is None else self._through(moves[0])

    def pull(self, delta: Tensor) -> tuple[Tensor | None, ...]:
        return (self._through(delta),)


class Smooth(Rule):
    """A smooth activation.

    Args:
        curve: value, first and second derivative at z.
    """

    def __init__(self, curve: Curve) -> None:
        self._curve = curve

    def forward(self, *inputs: Tensor) -> Tensor:
        output, self._first, self._second = self._curve(inputs[0])
        return output

    def backward(self, delta: Tensor, needed: bool) -> tuple[Tensor | None, ...]:
        self._delta = delta
        return (delta * self._first,)

    def tangent(self, *moves: Moves) -> Moves:
        (self._move,) = moves
        return None if self._move is None else self._move * self._first

    def pull(self, delta: Tensor) -> tuple[Tensor | None, ...]:
        pulled = delta * self._first
        if self._move is not None:
            pulled.addcmul_(self._delta * self._second, self._move)
        return (pulled,)


def sigmoid(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The logistic function."""
    y = torch.sigmoid(z)
    first = torch.addcmul(y, y, y, value=-1)
    return y, first, torch.addcmul(first, first, y, value=-2)


def tanh(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The hyperbolic tangent."""
    y = torch.tanh(z)
    first = 1 - y * y
    return y, first, -2 * y * first


def gelu(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """z Phi(z), the exact form."""
    below = torch.special.ndtr(z)
    density = torch.exp(z * z * -0.5) * (1 / math.sqrt(2 * math.pi))
    return z * below, torch.addcmul(below, z, density), density * (2 - z * z)


def silu(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """z sigmoid(z)."""
    s, slope, bend = sigmoid(z)
    return z * s, torch.addcmul(s, z, slope), torch.addcmul(2 * slope, z, bend)


CURVES: dict[str, Curve] = {"sigmoid": sigmoid, "tanh": tanh, "gelu": gelu, "silu": silu}
