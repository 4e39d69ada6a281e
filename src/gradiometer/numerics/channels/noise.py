"""Additive noise of known law."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gradiometer.core import Values

from .shared import TINY, cosine_distance, total

NORMAL_MEDIAN = 0.6744897501960817
"""Median magnitude of the standard normal law."""


@dataclass(frozen=True, kw_only=True)
class Additive:
    """q = r + noise. Gaussian noise: weighted L2; Laplace noise: weighted L1 (Balunovic et al., 2022).

    distance = c (1 - cos_w(s, q)) + d sum w |s - q|^p / sum w |q|^p, with w = 1 / std^p of each tensor (Gaussian: p = 2,
    c = 1/2, d = 1/4; Laplace: p = 1, c = 1/10, d = 1), about as steep as the cosine alone near a match. Where the noise is alike in all tensors, w drops out. A relative noise level is read off the mean
    square of what was sent, which is (1 + std^2) times that of the raw values.

    Args:
        std, relative: the defense's.
        law: of the noise.

    References:
        Balunović, Dimitrov, Staab, Vechev, "Bayesian Framework for Gradient Leakage", 2022, arXiv:2111.04706.
    """

    std: float
    relative: bool = False
    law: Literal["gaussian", "laplace"] = "gaussian"

    def distance(self, simulated: Values, sent: Values) -> Tensor:
        power, pull, push = (2, 0.5, 0.25) if self.law == "gaussian" else (1, 0.1, 1.0)
        trust = self._trust(sent)
        gap = total(((simulated[k] - q) * trust[k]).abs().pow(power).sum() for k, q in sent.items())
        size = total((q * trust[k]).abs().pow(power).sum() for k, q in sent.items()).clamp_min(TINY)
        weights = {k: v**2 for k, v in trust.items()}
        return pull * cosine_distance(simulated, sent, weights) + push * gap / size

    def decode(self, sent: Values) -> dict[str, Tensor]:
        return dict(sent)

    def variance(self, sent: Values) -> dict[str, Tensor]:
        return {k: v.expand_as(sent[k]) for k, v in self._variances(sent).items()}

    def forward(self, simulated: Values) -> dict[str, Tensor]:
        return dict(simulated)

    def _trust(self, sent: Values) -> dict[str, Tensor]:
        """1 / std of each tensor, in units of the greatest; 1 for tensors that are all zero, and so were sent exactly."""
        spreads = {k: v.sqrt() for k, v in self._variances(sent).items()}
        least = torch.stack([torch.where(v > 0, v, torch.inf) for v in spreads.values()]).min()
        return {k: torch.where(v > 0, least / v, 1.0) for k, v in spreads.items()}

    def _variances(self, sent: Values) -> dict[str, Tensor]:
        square = self.std**2
        if not self.relative:
            return {k: q.new_tensor(square) for k, q in sent.items()}
        return {k: square / (1 + square) * q.square().mean() for k, q in sent.items()}


@dataclass(frozen=True, kw_only=True)
class NoisyDirection:
    """q = a r + Gaussian noise, alike on all entries, with neither the factor a > 0 nor the noise's size known.

    Maximizing the likelihood over a leaves the cosine: distance = 1 - cos(s, q). The size of the noise is read off the
    median magnitude of what was sent, which noise makes up wherever it matters.

    Args:
        per_layer: every tensor has a factor of its own, which brings all to one length.
    """

    per_layer: bool = False

    def distance(self, simulated: Values, sent: Values) -> Tensor:
        return cosine_distance(self.forward(simulated), sent)

    def decode(self, sent: Values) -> dict[str, Tensor]:
        return dict(sent)

    def variance(self, sent: Values) -> dict[str, Tensor]:
        median = torch.cat([q.reshape(-1) for q in sent.values()]).abs().median()
        return {k: (median / NORMAL_MEDIAN).square().to(q).expand_as(q) for k, q in sent.items()}

    def forward(self, simulated: Values) -> dict[str, Tensor]:
        if not self.per_layer:
            return dict(simulated)
        return {k: s / s.square().sum().clamp_min(TINY).sqrt() for k, s in simulated.items()}
