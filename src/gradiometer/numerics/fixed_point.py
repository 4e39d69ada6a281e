"""Fixed point: real values as integers of a bounded range, which can be added exactly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class FixedPoint:
    """q = round(clamp(v, -clip, clip) / step), rounded up or down at random so that the mean is v; -levels <= q <= levels.

    Zero is a level, and both ends are. One value is off by less than one step, a sum of n by less than n steps.

    Args:
        clip: greatest magnitude of a value, in its own unit; bits: of a value, 2 to 32.
    """

    clip: float
    bits: int

    @property
    def levels(self) -> int:
        """The greatest integer, 2^(bits-1) - 1."""
        return 2 ** (self.bits - 1) - 1

    @property
    def step(self) -> float:
        """What one integer stands for, in the unit of the values."""
        return self.clip / self.levels

    def encode(self, values: Tensor, rng: torch.Generator) -> Tensor:
        """Integers of the same shape, int64."""
        scaled = (values.double() / self.step).clamp_(-self.levels, self.levels)
        # floor(x + u) with u uniform in [0, 1) is x rounded at random.
        up = torch.rand(values.shape, generator=rng, dtype=torch.float64).to(values.device)
        return scaled.add_(up).floor_().clamp_(max=self.levels).long()

    def decode(self, integers: Tensor) -> Tensor:
        """Values, or sums of them, in double precision."""
        return integers.double() * self.step
