"""Decoders: a token sees only those before it, so that sentences are found from their beginnings, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .body import Body
from .seeing import Seen

Sentence = tuple[int, ...]
CHUNK = 2**23


@dataclass(frozen=True, kw_only=True)
class Found:
    """A sequence, and the largest distance of one of its tokens from the span, in units of the tolerance."""

    tokens: Sentence
    distance: float


def grow(body: Body, seen: Seen, candidates: Sequence[Tensor], *, end: int | None, most: int) -> list[Found]:
    """All sequences whose every beginning entered the reader.

    The candidates of a position follow a beginning in one forward pass, side by side at the same position and each blind to
    the others: that costs little more than the beginning alone.

    Args:
        candidates: tokens that may stand at each position.
        end: the token that closes every sequence, if one does; otherwise a sequence is complete where nothing continues it.
        most: beginnings that are followed at once, the nearest to the span.
    """
    complete: list[Found] = []
    open_ = [Found(tokens=(), distance=0.0)]
    for tokens in candidates:
        apart = distances(body, seen, [one.tokens for one in open_], tokens)
        longer = list[Found]()
        for one, row in zip(open_, apart):
            inside = (row <= 1).nonzero().flatten().tolist()
            if not inside and end is None and one.tokens:
                complete.append(one)
            for i in inside:
                grown = Found(tokens=(*one.tokens, int(tokens[i])), distance=max(one.distance, float(row[i])))
                (complete if grown.tokens[-1] == end else longer).append(grown)
        open_ = sorted(longer, key=lambda one: one.distance)[:most]
        if not open_:
            break
    return complete + (open_ if end is None else [])


def distances(body: Body, seen: Seen, beginnings: list[Sentence], tokens: Tensor) -> Tensor:
    """Of every token behind every beginning (all of one length), [beginnings, tokens]."""
    before, count = len(beginnings[0]), len(tokens)
    width = before + count
    see = torch.zeros(width, width, dtype=torch.bool)
    see[:before, :before] = torch.ones(before, before, dtype=torch.bool).tril()
    see[before:, :before] = True
    see[before:, before:].fill_diagonal_(True)
    places = torch.arange(width).clamp_max(before)
    rows = max(1, CHUNK // (width * (width + 4 * seen.reader.features)))
    found = []
    for part in torch.tensor(beginnings, dtype=torch.long).reshape(len(beginnings), before).split(rows):
        ids = torch.cat([part, tokens.expand(len(part), -1)], 1)
        x = body.inputs(ids, see.expand(len(part), -1, -1), seen.reader, positions=places.expand(len(part), -1))
        found.append(seen.distance(x[:, before:]))
    return torch.cat(found)
