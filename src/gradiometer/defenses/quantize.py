"""Quantize: rounds every entry to a uniform grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gradiometer.core import BadConfig, Card, Channel, Defense, Memory, Values
from gradiometer.numerics.channels import RandomRounding, Rounding
from gradiometer.numerics.quantizers import Scheme, grid_steps, uniform
from gradiometer.numerics.wire import dense_bytes

from .feedback import with_feedback


@dataclass(frozen=True, kw_only=True)
class Quantize(Defense):
    """Rounding to a uniform grid: cheaper messages, and no proof of privacy at any width.

    `global` is the scheme of the note that claims it as a defense against generative attacks: one minimum and maximum
    over all tensors, w = (max - min) / 2^bits, q = round((v - min) / w) w + min. Small-gradient tensors then collapse
    to few levels, and what was zero gets a common offset of up to w / 2. `symmetric` has one grid a tensor,
    s = max|v|, L = 2^(bits-1) - 1, q = round(v L / s) s / L; zero stays zero. `channel` has one such grid for each output
    channel, the rows of a tensor's first dimension; biases are one row.

    Args:
        bits: of an entry on the wire, 1 to 32 (`symmetric` and `channel`: from 2); 32 is the identity.
        rounding: to the `nearest` level, or `stochastic`: up or down at random, so that the mean is v.
        error_feedback: the client remembers what rounding left out and adds it to its next update.

    References:
        Ovi, Dey, Roy, Gangopadhyay, "Mixed Precision Quantization to Tackle Gradient Leakage Attacks in Federated
        Learning", 2022, arXiv:2210.13457, for quantization claimed as a defense.
        Karimireddy, Rebjock, Stich, Jaggi, "Error Feedback Fixes SignSGD and other Gradient Compression Schemes",
        2019, arXiv:1901.09847.
    """

    card: ClassVar[Card] = Card(
        summary="Rounds every entry to a uniform grid: one for all tensors, for each, or for each channel.",
        title="Mixed Precision Quantization to Tackle Gradient Leakage Attacks in Federated Learning",
        authors="Ovi, Dey, Roy, Gangopadhyay",
        year=2022,
        arxiv="2210.13457",
        family="compression",
        formula="q = round((v - min) / w) w + min, w = (max - min) / 2^bits",
        strength="32 - bits",
        departs="one width for all layers",
    )
    bits: int = 8
    scheme: Scheme = "global"
    rounding: Literal["nearest", "stochastic"] = "nearest"
    error_feedback: bool = False

    def __post_init__(self) -> None:
        least = 1 if self.scheme == "global" else 2
        if not least <= self.bits <= 32:
            raise BadConfig(f"Quantize with the {self.scheme} scheme needs {least} to 32 bits, got {self.bits}")

    def on_gradients(self, values: Values, *, rng: torch.Generator, memory: Memory) -> dict[str, Tensor]:
        if self.bits == 32:
            return dict(values)
        draws = rng if self.rounding == "stochastic" else None
        if self.error_feedback:
            return with_feedback(values, memory, lambda total: uniform(total, self.bits, self.scheme, draws))
        return uniform(values, self.bits, self.scheme, draws)

    def wire_bytes(self, values: Values) -> int:
        if self.bits == 32:
            return super().wire_bytes(values)
        scales = 2 if self.scheme == "global" else sum(s.numel() for s in grid_steps(values, 2, self.scheme).values())
        return dense_bytes(values, self.bits, scales=scales)

    def channel(self) -> Channel | None:
        if self.bits == 32:
            return None
        known = Rounding if self.rounding == "nearest" else RandomRounding
        return known(bits=self.bits, scheme=self.scheme)
