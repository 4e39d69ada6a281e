"""Channels of sparsification and of signs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.core import Values

from ..shrinking import Scope, keep_largest
from .shared import TINY, cosine_distance, total

PRUNED = 0.03
"""Weight of a pruned entry in the cosine. Measured on small perceptrons: 1 (the naive cosine) asks the simulation to be
as sparse as the message, 0 forgets that pruned entries are small."""


@dataclass(frozen=True, kw_only=True)
class Sparse:
    """The largest entries are exact, all others were below the least of them.

    distance = 1 - cos_w(s, q), with w = 1 where something was sent and 0.03 elsewhere. A memory of earlier rounds
    (error feedback) is taken as empty.

    Args:
        keep, scope: the defense's.
    """

    keep: float
    scope: Scope = "tensor"

    def distance(self, simulated: Values, sent: Values) -> Tensor:
        weights = {k: torch.where(q == 0, PRUNED, 1.0).to(q) for k, q in sent.items()}
        return cosine_distance(simulated, sent, weights)

    def decode(self, sent: Values) -> dict[str, Tensor]:
        return dict(sent)

    def variance(self, sent: Values) -> dict[str, Tensor]:
        """Zero where something was sent; elsewhere threshold^2 / 3, as of any value below the threshold."""
        return {k: torch.where(q == 0, t**2 / 3, 0.0) for (k, q), t in zip(sent.items(), self._thresholds(sent))}

    def forward(self, simulated: Values) -> dict[str, Tensor]:
        return keep_largest(simulated, self.keep, self.scope)

    def _thresholds(self, sent: Values) -> list[Tensor]:
        """The least magnitude that was sent; zero for a tensor that is all zero."""
        least = [torch.where(q == 0, torch.inf, q.abs()).min() for q in sent.values()]
        if self.scope == "global":
            least = [torch.stack(least).min()] * len(least)
        return [torch.where(t.isinf(), 0.0, t) for t in least]


@dataclass(frozen=True, kw_only=True)
class Signs:
    """q = mean|r| where r >= 0 and -mean|r| elsewhere: the side of every entry, and the mean magnitude of each tensor.

    distance = mean over tensors of 3 sum relu(-s sign q) / sum |q| + (sum |s| / sum |q| - 1)^2, plus
    0.1 (1 - cos(s, decoded)).

    What was sent as negative is negative, but what was sent as positive may be zero, as of pixels that are black or
    neurons that are silent. Gradients carry about as much positive as negative mass, so each side is decoded as half of
    the mass over its own count: zeros then cancel in sums over rows.
    """

    def distance(self, simulated: Values, sent: Values) -> Tensor:
        parts = []
        for k, q in sent.items():
            size = q.abs().sum().clamp_min(TINY)
            wrong = (-simulated[k] * q.sign()).relu().sum() / size
            parts.append(3 * wrong + (simulated[k].abs().sum() / size - 1).square())
        return total(parts) / len(parts) + 0.1 * cosine_distance(simulated, self.decode(sent))

    def decode(self, sent: Values) -> dict[str, Tensor]:
        return {k: q / (2 * self._share(q)) for k, q in sent.items()}

    def variance(self, sent: Values) -> dict[str, Tensor]:
        """(pi / 2 - 1) of the squared decoded magnitude, as of a half-normal distribution."""
        return {k: (torch.pi / 2 - 1) * q.square() for k, q in self.decode(sent).items()}

    def forward(self, simulated: Values) -> dict[str, Tensor]:
        return {k: s.sign() * s.abs().mean() for k, s in simulated.items()}

    def _share(self, sent: Tensor) -> Tensor:
        """The share of entries on the same side; one half for all where there is only one side."""
        positive = (sent > 0).to(sent).mean()
        one_sided = (positive == 0) | (positive == 1)
        return torch.where(one_sided, 0.5, torch.where(sent > 0, positive, 1 - positive))
