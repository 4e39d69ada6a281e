"""TopK: sends the largest entries now, and what was left out later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gradiometer.core import BadConfig, Card, Channel, Defense, Memory, Values
from gradiometer.numerics.channels import Sparse
from gradiometer.numerics.shrinking import Scope, keep_largest
from gradiometer.numerics.wire import sparse_bytes

from .feedback import with_feedback


@dataclass(frozen=True, kw_only=True)
class TopK(Defense):
    """Sends top_k(v + e) and keeps the rest as e for the next round: nothing is lost, it is only late.

    Args:
        keep: share of entries that is sent, in (0, 1]; 1 is the identity. At least one entry is sent.
        scope: the share counts in each `tensor`, or `global`ly.
        error_feedback: keep the rest (in the client's memory) and add it in the next round.

    References:
        Stich, Cordonnier, Jaggi, "Sparsified SGD with Memory", 2018, arXiv:1809.07599.
    """

    card: ClassVar[Card] = Card(
        summary="Sends the entries of largest magnitude now and the rest in later rounds.",
        title="Sparsified SGD with Memory",
        authors="Stich, Cordonnier, Jaggi",
        year=2018,
        arxiv="1809.07599",
        family="compression",
        formula="sent = top_k(v + e), e <- v + e - sent",
        strength="1 - keep",
    )
    keep: float = 0.01
    scope: Scope = "global"
    error_feedback: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise BadConfig(f"TopK needs keep in (0, 1], got {self.keep}")

    def on_gradients(self, values: Values, *, rng: torch.Generator, memory: Memory) -> dict[str, Tensor]:
        if self.keep == 1:
            return dict(values)
        if self.error_feedback:
            return with_feedback(values, memory, lambda total: keep_largest(total, self.keep, self.scope))
        return keep_largest(values, self.keep, self.scope)

    def wire_bytes(self, values: Values) -> int:
        return super().wire_bytes(values) if self.keep == 1 else sparse_bytes(values)

    def channel(self) -> Channel | None:
        return None if self.keep == 1 else Sparse(keep=self.keep, scope=self.scope)
