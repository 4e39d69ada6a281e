"""Local optimizers as pure functions of weights and gradients, so that a whole local training can be differentiated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor


@dataclass
class Optimizer:
    """SGD (with momentum) or Adam, with torch's formulas and defaults, building new weights instead of writing to old.

    `tests/core/test_simulate.py` holds the equality with `torch.optim`.
    """

    name: Literal["sgd", "adam"]
    lr: float
    momentum: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    count: int = 0
    _first: dict[str, Tensor] = field(default_factory=dict)
    _second: dict[str, Tensor] = field(default_factory=dict)

    def step(self, weights: dict[str, Tensor], gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights after one step; the arguments are not written to."""
        self.count += 1
        move = self._adam if self.name == "adam" else self._sgd
        return {name: weight - self.lr * move(name, gradients[name]) for name, weight in weights.items()}

    @property
    def memory(self) -> list[dict[str, Tensor]]:
        """What is kept between steps, by weight: nothing, a momentum, or two averages."""
        return [kept for kept in (self._first, self._second) if kept]

    def remembering(self, memory: Sequence[dict[str, Tensor]]) -> Optimizer:
        """This optimizer with that memory; both go on by themselves."""
        first, second = [dict(kept) for kept in (*memory, {}, {})][:2]
        return replace(self, _first=first, _second=second)

    def _sgd(self, name: str, gradient: Tensor) -> Tensor:
        if not self.momentum:
            return gradient
        before = self._first.get(name)
        self._first[name] = gradient if before is None else self.momentum * before + gradient
        return self._first[name]

    def _adam(self, name: str, gradient: Tensor) -> Tensor:
        low, high = self.betas
        first = low * self._first.get(name, torch.zeros_like(gradient)) + (1 - low) * gradient
        second = high * self._second.get(name, torch.zeros_like(gradient)) + (1 - high) * gradient**2
        self._first[name], self._second[name] = first, second
        corrected = second / (1 - high**self.count)
        # The root's derivative is infinite at zero, where entries without gradient stand: they are cut out of the graph.
        live = corrected > 0
        root = torch.where(live, torch.where(live, corrected, 1.0).sqrt(), 0.0)
        return first / (1 - low**self.count) / (root + self.eps)
