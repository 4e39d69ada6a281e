"""GaussianNoise: normal noise on every entry."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gradiometer.core import BadConfig, Card, Channel, Defense, Memory, Values
from gradiometer.numerics.channels import Additive
from gradiometer.numerics.noise import noise_scale


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(Defense):
    """v <- v + N(0, std^2).

    Alone it proves nothing (`epsilon()` is None), whatever the size of the noise: without a bound on the update there
    is no sensitivity. `chain(Clip(bound=C), GaussianNoise(std=z * C))` has a stated epsilon.

    Args:
        std: standard deviation of the noise; 0 is the identity.
        relative: `std` counts in units of the root mean square of each tensor. The noise then depends on the data.

    References:
        Dwork, McSherry, Nissim, Smith, "Calibrating Noise to Sensitivity in Private Data Analysis", 2006.
        As a defense without clipping: Zhu, Liu, Han, "Deep Leakage from Gradients", 2019, arXiv:1906.08935.
    """

    card: ClassVar[Card] = Card(
        summary="Adds normal noise to every entry; a proof of privacy only behind a clip.",
        title="Deep Leakage from Gradients",
        authors="Zhu, Liu, Han",
        year=2019,
        arxiv="1906.08935",
        family="noise",
        formula="v + N(0, std^2)",
        strength="std",
    )
    std: float = 0.01
    relative: bool = False

    def __post_init__(self) -> None:
        if not self.std >= 0:
            raise BadConfig(f"GaussianNoise needs std >= 0, got {self.std}")

    def on_gradients(self, values: Values, *, rng: torch.Generator, memory: Memory) -> dict[str, Tensor]:
        if self.std == 0:
            return dict(values)

        def noisy(value: Tensor) -> Tensor:
            noise = torch.randn(value.shape, generator=rng, dtype=value.dtype).to(value.device)
            return value + noise_scale(value, self.std, self.relative) * noise

        return {name: noisy(value) for name, value in values.items()}

    def channel(self) -> Channel | None:
        return Additive(std=self.std, relative=self.relative, law="gaussian") if self.std else None

    def sum_channel(self, clients: int) -> Channel | None:
        return Additive(std=self.std * math.sqrt(clients)) if self.std and not self.relative else None
