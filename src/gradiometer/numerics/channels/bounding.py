"""Clipping channels: an unknown scale, or entries cut at a known bound."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.core import Values

from ..shrinking import clip_layers, clip_length
from .shared import cosine_distance, energy, outside, squared_gap, total


@dataclass(frozen=True, kw_only=True)
class Rescaled:
    """The update, or each of its tensors, was shortened to a known length: all directions are as they were.

    The simulation is clipped too, so that it can match exactly: distance = (1 - cos(clip(s), q)) / 2 +
    sum (clip(s) - q)^2 / (4 sum q^2), as steep as the cosine alone near a match. The lengths before are not known, so `decode` cannot undo them.

    Args:
        bound, per_layer: the defense's.
    """

    bound: float
    per_layer: bool = False

    def distance(self, simulated: Values, sent: Values) -> Tensor:
        clipped = self.forward(simulated)
        return cosine_distance(clipped, sent) / 2 + squared_gap(clipped, sent) / 4

    def decode(self, sent: Values) -> dict[str, Tensor]:
        return dict(sent)

    def variance(self, sent: Values) -> dict[str, Tensor]:
        """Zero: no entry is disturbed, but for one factor a tensor or for all."""
        return {k: torch.zeros_like(q) for k, q in sent.items()}

    def forward(self, simulated: Values) -> dict[str, Tensor]:
        return (clip_layers if self.per_layer else clip_length)(simulated, self.bound)


@dataclass(frozen=True, kw_only=True)
class Clamped:
    """Entries were cut to [-bound, bound]: those at the bound were at least as large, the others are exact.

    distance = 1 - cos(clamp(s), q) + sum h(s)^2 / sum q^2, with h the distance to q, or to the side beyond the bound.

    Args:
        bound: the defense's.
    """

    bound: float

    def distance(self, simulated: Values, sent: Values) -> Tensor:
        wrong = []
        for k, q in sent.items():
            cut = self._cut(q)
            low, high = torch.where(cut & (q < 0), -torch.inf, q), torch.where(cut & (q > 0), torch.inf, q)
            wrong.append(outside(simulated[k], low, high))
        return cosine_distance(self.forward(simulated), sent) + total(wrong) / energy(sent)

    def decode(self, sent: Values) -> dict[str, Tensor]:
        return dict(sent)

    def variance(self, sent: Values) -> dict[str, Tensor]:
        """Infinite at the bound, zero within."""
        return {k: torch.where(self._cut(q), torch.inf, 0.0).to(q) for k, q in sent.items()}

    def forward(self, simulated: Values) -> dict[str, Tensor]:
        return {k: s.clamp(-self.bound, self.bound) for k, s in simulated.items()}

    def _cut(self, sent: Tensor) -> Tensor:
        return sent.abs() >= self.bound * (1 - 1e-6)
