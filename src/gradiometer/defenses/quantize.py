"""Quantize: rounds every entry to a uniform grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gradiometer.core import BadConfig, Card, Channel, Defense, Memory, Values
from gradiometer.numerics.channels import Rounding
from gradiometer.numerics.quantizers import global_uniform, symmetric_uniform
from gradiometer.numerics.wire import dense_bytes


@dataclass(frozen=True, kw_only=True)
class Quantize(Defense):
    """Deterministic rounding to a uniform grid: cheaper messages, and no proof of privacy at any width.

    `global` is the scheme of the note that claims it as a defense against generative attacks: one minimum and maximum
    over all tensors, w = (max - min) / 2^bits, q = round((v - min) / w) w + min. Small-gradient tensors then collapse
    to few levels, and what was zero gets a common offset of up to w / 2. `symmetric` has one grid a tensor,
    s = max|v|, L = 2^(bits-1) - 1, q = round(v L / s) s / L; zero stays zero.

    Args:
        bits: of an entry on the wire, 1 to 32 (`symmetric`: from 2); 32 is the identity.

    References:
        Ovi, Dey, Roy, Gangopadhyay, "Mixed Precision Quantization to Tackle Gradient Leakage Attacks in Federated
        Learning", 2022, arXiv:2210.13457, for quantization claimed as a defense.
    """

    card: ClassVar[Card] = Card(
        summary="Rounds every entry to a uniform grid, one for all tensors or one for each.",
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
    scheme: Literal["global", "symmetric"] = "global"

    def __post_init__(self) -> None:
        least = 1 if self.scheme == "global" else 2
        if not least <= self.bits <= 32:
            raise BadConfig(f"Quantize with the {self.scheme} scheme needs {least} to 32 bits, got {self.bits}")

    def on_gradients(self, values: Values, *, rng: torch.Generator, memory: Memory) -> dict[str, Tensor]:
        if self.bits == 32:
            return dict(values)
        if self.scheme == "global":
            return global_uniform(values, self.bits)
        return {name: symmetric_uniform(value, self.bits) for name, value in values.items()}

    def wire_bytes(self, values: Values) -> int:
        if self.bits == 32:
            return super().wire_bytes(values)
        return dense_bytes(values, self.bits, scales=2 if self.scheme == "global" else len(values))

    def channel(self) -> Channel | None:
        return None if self.bits == 32 else Rounding(bits=self.bits, scheme=self.scheme)
