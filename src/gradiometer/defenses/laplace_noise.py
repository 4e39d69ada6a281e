"""LaplaceNoise: double-exponential noise on every entry."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gradiometer.core import BadConfig, Card, Channel, Defense, Memory, Values
from gradiometer.numerics.channels import Additive
from gradiometer.numerics.noise import laplace, noise_scale


@dataclass(frozen=True, kw_only=True)
class LaplaceNoise(Defense):
    """v <- v + Laplace(0, std / sqrt(2)), drawn by inversion.

    Proves nothing here (`epsilon()` is None): its sensitivity is an L1 norm, which none of our clips bounds usefully.

    Args:
        std: standard deviation of the noise (its scale is std / sqrt(2)); 0 is the identity.
        relative: `std` counts in units of the root mean square of each tensor.

    References:
        Dwork, McSherry, Nissim, Smith, "Calibrating Noise to Sensitivity in Private Data Analysis", 2006.
        As a defense without clipping: Zhu, Liu, Han, "Deep Leakage from Gradients", 2019, arXiv:1906.08935.
    """

    card: ClassVar[Card] = Card(
        summary="Adds Laplace noise to every entry; without a bound on the update it proves nothing.",
        title="Deep Leakage from Gradients",
        authors="Zhu, Liu, Han",
        year=2019,
        arxiv="1906.08935",
        family="noise",
        formula="v + Laplace(0, std / sqrt 2)",
        strength="std",
    )
    std: float = 0.01
    relative: bool = False

    def __post_init__(self) -> None:
        if not self.std >= 0:
            raise BadConfig(f"LaplaceNoise needs std >= 0, got {self.std}")

    def on_gradients(self, values: Values, *, rng: torch.Generator, memory: Memory) -> dict[str, Tensor]:
        if self.std == 0:
            return dict(values)
        scale = 1 / math.sqrt(2)
        return {
            name: value + noise_scale(value, self.std, self.relative) * scale * laplace(value, rng)
            for name, value in values.items()
        }

    def channel(self) -> Channel | None:
        return Additive(std=self.std, relative=self.relative, law="laplace") if self.std else None

    def sum_channel(self, clients: int) -> Channel | None:
        """Of many clients' noise, as if it were normal: right in the limit of many, near it from a few on."""
        return Additive(std=self.std * math.sqrt(clients)) if self.std and not self.relative else None
