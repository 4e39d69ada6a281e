"""QSGD: stochastic rounding in buckets, so that the mean is the raw update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gradiometer.core import BadConfig, Card, Channel, Defense, Memory, Values
from gradiometer.numerics.channels import Dithering
from gradiometer.numerics.quantizers import in_buckets, out_of_buckets, stochastic
from gradiometer.numerics.wire import dense_bytes


@dataclass(frozen=True, kw_only=True)
class QSGD(Defense):
    """|v| L / s is rounded up or down at random, L = 2^(bits-1) - 1, with s the norm of a bucket of entries.

    Unbiased. With s = ||v||_2 over n entries, E||q - v||^2 <= min(n / L^2, sqrt(n) / L) ||v||^2. The randomness is
    no proof of privacy: entries on the grid are sent as they are.

    Args:
        bits: of an entry on the wire, sign included, 2 to 32; 32 is the identity.
        bucket: entries that share a scale; None takes whole tensors.
        norm: the scale s: `l2`, as in the paper, or `max`, which wastes no level.

    References:
        Alistarh, Grubic, Li, Tomioka, Vojnovic, "QSGD: Communication-Efficient SGD via Gradient Quantization and
        Encoding", 2017, arXiv:1610.02132.

    Departs from the paper in counting fixed-length codes, not Elias codes.
    """

    card: ClassVar[Card] = Card(
        summary="Rounds entries up or down at random between few levels, unbiased, with one scale a bucket.",
        title="QSGD: Communication-Efficient SGD via Gradient Quantization and Encoding",
        authors="Alistarh, Grubic, Li, Tomioka, Vojnovic",
        year=2017,
        arxiv="1610.02132",
        family="compression",
        formula="q = s sign(v) (l + Bernoulli(|v| L / s - l)) / L",
        strength="32 - bits",
        departs="sizes count fixed-length codes, not Elias codes",
    )
    bits: int = 4
    bucket: int | None = 512
    norm: Literal["l2", "max"] = "l2"

    def __post_init__(self) -> None:
        problems = [] if 2 <= self.bits <= 32 else [f"bits must lie in 2..32, got {self.bits}"]
        if self.bucket is not None and self.bucket < 1:
            problems.append(f"bucket must be at least 1, got {self.bucket}")
        if problems:
            raise BadConfig("QSGD cannot work with these settings", problems=problems)

    def on_gradients(self, values: Values, *, rng: torch.Generator, memory: Memory) -> dict[str, Tensor]:
        if self.bits == 32:
            return dict(values)
        return {name: self._rounded(value, rng) for name, value in values.items()}

    def wire_bytes(self, values: Values) -> int:
        if self.bits == 32:
            return super().wire_bytes(values)
        return dense_bytes(values, self.bits, scales=sum(len(in_buckets(v, self.bucket)) for v in values.values()))

    def channel(self) -> Channel | None:
        if self.bits == 32:
            return None
        return Dithering(levels=self._levels, bucket=self.bucket, norm=self.norm)

    @property
    def _levels(self) -> int:
        return 2 ** (self.bits - 1) - 1

    def _rounded(self, value: Tensor, rng: torch.Generator) -> Tensor:
        rows = in_buckets(value, self.bucket)
        order = 2 if self.norm == "l2" else torch.inf
        step = torch.linalg.vector_norm(rows, ord=order, dim=1, keepdim=True) / self._levels
        return out_of_buckets(stochastic(rows, step, rng), value)
