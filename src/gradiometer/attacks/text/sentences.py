"""Sentences as the unknown of gradient matching: one embedding a token, decoded to the nearest token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from gradiometer.core import Batch

from ..matching.problem import Problem
from ..matching.spaces import Pixels
from ..matching.starts import Start


@dataclass(frozen=True, kw_only=True, eq=False)
class Sentences(Problem):
    """Unknown are embeddings [n, length, width], in units of the table's root mean square.

    Args:
        table: [vocabulary, width], the token embedding.
        allowed: [k], tokens that the sentences can hold, rising.
    """

    shown: ClassVar[str] = "input_ids"
    table: Tensor
    allowed: Tensor

    @cached_property
    def unit(self) -> float:
        """The size of an entry of the table."""
        return float(self.table.square().mean().sqrt())

    @property
    def end(self) -> int | None:
        """The token that closes every sequence, where one does."""
        return self.update.layout["input_ids"].end

    @property
    def closing(self) -> int | None:
        """The last token, where it is known: the one that closes every sequence, of a single one."""
        return self.end if len(self.like) == 1 else None

    @property
    def free(self) -> int:
        """Places whose tokens are unknown."""
        return self.like.shape[1] - (self.closing is not None)

    def pixels(self, kind: Start, rng: torch.Generator, *, again: bool = False, x: Tensor | None = None) -> Pixels:
        """The embeddings themselves as unknowns: normal entries, as in a table that was drawn, and as no particular token."""
        return Pixels(first=[torch.randn(self.like.shape, generator=rng).to(self.like)], box=None)

    def decode(self, unknowns: Sequence[Tensor]) -> Batch:
        """See `Problem.decode`."""
        y = unknowns[1].softmax(1) if self.labels is None else self.labels
        return self.batch(unknowns[0] * self.unit, y)

    def batch(self, embeddings: Tensor, y: Tensor) -> Batch:
        """Sequences of equal length; of a single one it is known which token closes it."""
        if self.closing is not None:
            embeddings = torch.cat([embeddings[:, :-1], self.table[self.closing].expand(1, 1, -1)], 1)
        mask = torch.ones(embeddings.shape[:2], dtype=torch.long, device=embeddings.device)
        return Batch(input_ids=embeddings, attention_mask=mask, y=y)

    def nearest(self, z: Tensor) -> Tensor:
        """The allowed token of the most alike direction at every place, [n, length]."""
        found = self.near(z, 1)[..., 0]
        if self.closing is not None:
            found[:, -1] = self.closing
        return found

    def near(self, z: Tensor, count: int) -> Tensor:
        """So many allowed tokens of the most alike directions, the nearest first, [..., count]."""
        return self.allowed[(z @ self._directions.T).topk(min(count, len(self.allowed)), -1).indices]

    def embeddings(self, ids: Tensor) -> Tensor:
        """Tokens [n, length] as unknowns."""
        return self.table[ids] / self.unit

    def answer(self, unknowns: Sequence[Tensor]) -> dict[str, Tensor]:
        """The tokens, each sequence up to the first that closes it, and the likeliest label of each."""
        ids = self.nearest(unknowns[0])
        there = torch.ones_like(ids)
        if self.end is not None:
            ends = (ids == self.end).long()
            there = (ends.cumsum(1) == ends).long()
        room = (0, self.update.layout["input_ids"].shape[0] - ids.shape[1])
        y = unknowns[1].argmax(1) if self.labels is None else self.labels
        ids, there = (torch.nn.functional.pad(part, room) for part in (ids * there, there))
        return {"input_ids": ids, "attention_mask": there, "y": y}

    @cached_property
    def _directions(self) -> Tensor:
        rows = self.table[self.allowed]
        return rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
