"""Prune: zeroes the smallest entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gradiometer.core import BadConfig, Card, Channel, Defense, Memory, Values
from gradiometer.numerics.channels import Sparse
from gradiometer.numerics.shrinking import Scope, keep_largest
from gradiometer.numerics.wire import sparse_bytes


@dataclass(frozen=True, kw_only=True)
class Prune(Defense):
    """v <- v where |v| is among the largest share `keep`, 0 elsewhere. Magnitudes count, so both signs are pruned.

    Args:
        keep: share of entries that stays, in (0, 1]; 1 is the identity. At least one entry stays.
        scope: the share counts in each `tensor`, or `global`ly.

    References:
        Zhu, Liu, Han, "Deep Leakage from Gradients", 2019, arXiv:1906.08935 (section 5.1: from 20 % on, DLG failed).
    """

    card: ClassVar[Card] = Card(
        summary="Keeps the entries of largest magnitude and zeroes the rest.",
        title="Deep Leakage from Gradients",
        authors="Zhu, Liu, Han",
        year=2019,
        arxiv="1906.08935",
        family="compression",
        formula="v_i [|v_i| >= threshold]",
        strength="1 - keep",
    )
    keep: float = 0.1
    scope: Scope = "tensor"

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise BadConfig(f"Prune needs keep in (0, 1], got {self.keep}")

    def on_gradients(self, values: Values, *, rng: torch.Generator, memory: Memory) -> dict[str, Tensor]:
        return dict(values) if self.keep == 1 else keep_largest(values, self.keep, self.scope)

    def wire_bytes(self, values: Values) -> int:
        return super().wire_bytes(values) if self.keep == 1 else sparse_bytes(values)

    def channel(self) -> Channel | None:
        return None if self.keep == 1 else Sparse(keep=self.keep, scope=self.scope)
