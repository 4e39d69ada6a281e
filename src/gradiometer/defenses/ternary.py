"""Ternary: every entry becomes -s, 0 or s at random, so that the mean is the raw update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gradiometer.core import BadConfig, Card, Channel, Defense, Memory, Values
from gradiometer.numerics.channels import Dithering
from gradiometer.numerics.quantizers import stochastic
from gradiometer.numerics.wire import dense_bytes


@dataclass(frozen=True, kw_only=True)
class Ternary(Defense):
    """Sends s sign(v) Bernoulli(|v| / s), s = max|v| of each tensor. Unbiased, unless entries are clipped first.

    Args:
        clip: first clip entries to so many standard deviations of their tensor (the paper's layers: 2.5), which
            lowers the variance for a bias; None does not clip.

    References:
        Wen, Xu, Yan, Wu, Wang, Chen, Li, "TernGrad: Ternary Gradients to Reduce Communication in Distributed Deep
        Learning", 2017, arXiv:1705.07878.

    Departs from the paper in that every client has its own scale, and in not clipping by default.
    """

    card: ClassVar[Card] = Card(
        summary="Sends -s, 0 or s for every entry, at random and unbiased.",
        title="TernGrad: Ternary Gradients to Reduce Communication in Distributed Deep Learning",
        authors="Wen, Xu, Yan, Wu, Wang, Chen, Li",
        year=2017,
        arxiv="1705.07878",
        family="compression",
        formula="s sign(v) Bernoulli(|v| / s), s = max|v|",
        strength="fixed",
        departs="every client has its own scale; entries are not clipped by default",
    )
    clip: float | None = None

    def __post_init__(self) -> None:
        if self.clip is not None and not self.clip > 0:
            raise BadConfig(f"Ternary needs a positive clip, got {self.clip}", fix="leave it out to clip nothing")

    def on_gradients(self, values: Values, *, rng: torch.Generator, memory: Memory) -> dict[str, Tensor]:
        return {name: self._rounded(value, rng) for name, value in values.items()}

    def wire_bytes(self, values: Values) -> int:
        return dense_bytes(values, 2, scales=len(values))

    def channel(self) -> Channel | None:
        return Dithering(levels=1, bucket=None, norm="max", clip=self.clip)

    def _rounded(self, value: Tensor, rng: torch.Generator) -> Tensor:
        if self.clip is not None and value.numel() > 1:
            bound = float(self.clip * value.std(correction=0))
            value = value.clamp(-bound, bound)
        return stochastic(value, value.abs().max(), rng)
