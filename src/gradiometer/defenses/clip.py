"""Clip: bounds the length of the update, of each of its tensors, or each of its entries."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gradiometer.core import BadConfig, Card, Channel, Defense, Memory, Values
from gradiometer.numerics.channels import Clamped, Rescaled
from gradiometer.numerics.shrinking import clip_layers, clip_length


@dataclass(frozen=True, kw_only=True)
class Clip(Defense):
    """v <- v min(1, bound / ||v||): a bound on what one client can change, and alone no protection at all.

    Direction and all ratios of entries stay, so that attacks that look at those see the undefended update. Clipping
    entries (`linf`) does destroy the direction, and tells the sign of everything it cut.

    Args:
        bound: greatest length (or entry, for `linf`); infinity is the identity.
        norm: `l2` over all tensors; `per_layer`, every tensor to bound / sqrt(number of tensors), which keeps the
            whole within `bound`; `linf`, every entry.

    References:
        Abadi, Chu, Goodfellow, McMahan, Mironov, Talwar, Zhang, "Deep Learning with Differential Privacy", 2016,
        arXiv:1607.00133.

    Departs from the paper in clipping the client's whole update (as McMahan et al., arXiv:1710.06963), not the
    gradient of every example.
    """

    card: ClassVar[Card] = Card(
        summary="Shortens the update to a bound: over all tensors, for each tensor, or for each entry.",
        title="Deep Learning with Differential Privacy",
        authors="Abadi, Chu, Goodfellow, McMahan, Mironov, Talwar, Zhang",
        year=2016,
        arxiv="1607.00133",
        family="bounding",
        formula="v <- v min(1, bound / ||v||)",
        strength="1 / bound",
        departs="clips the client's whole update, not the gradient of every example",
    )
    bound: float = 1.0
    norm: Literal["l2", "per_layer", "linf"] = "l2"

    def __post_init__(self) -> None:
        if not self.bound > 0:
            raise BadConfig(f"Clip needs a positive bound, got {self.bound}")

    def on_gradients(self, values: Values, *, rng: torch.Generator, memory: Memory) -> dict[str, Tensor]:
        if math.isinf(self.bound):
            return dict(values)
        if self.norm == "linf":
            return {name: value.clamp(-self.bound, self.bound) for name, value in values.items()}
        return (clip_length if self.norm == "l2" else clip_layers)(values, self.bound)

    def channel(self) -> Channel | None:
        if math.isinf(self.bound):
            return None
        if self.norm == "linf":
            return Clamped(bound=self.bound)
        return Rescaled(bound=self.bound, per_layer=self.norm == "per_layer")
