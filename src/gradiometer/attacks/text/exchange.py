"""Encoders: every token sees all others, so that whole sequences are tried, and improved by exchanging one token at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from .body import Body
from .prefixes import CHUNK, Found
from .seeing import Seen

FEW = 4096
"""So many combinations are all tried."""
NEW = 4.0
TURNS = 12
"""So often every length is begun anew while sequences are missing: most beginnings end at a sequence that was found before."""


def exchange(
    body: Body,
    seen: Seen,
    candidates: Sequence[Tensor],
    *,
    end: int | None,
    most: int | None,
    starts: int,
    rng: torch.Generator,
) -> list[Found]:
    """Sequences that entered the reader whole.

    For each length, the search starts at random sequences of candidates, again and again until the sequences found fill
    the span. The sum over positions of the logarithm of the distance to the span falls with every token that is right, for
    its neighbors then see what they saw.

    Args:
        candidates: tokens that may stand at each position.
        end: the token that closes every sequence; None: there is one length, that of `candidates`.
        most: how many sequences there are, where it is known: the search ends with them.
        starts: of each length and turn.
    """
    found: dict[tuple[int, ...], Found] = {}
    for turn in range(TURNS):
        for slots in lengths(candidates, end):
            if complete(found, seen, most):
                return list(found.values())
            if not (turn and _few(slots)):
                weights = [unused(tokens, place, found) for place, tokens in enumerate(slots)]
                found |= {one.tokens: one for one in _of_length(body, seen, slots, weights, starts, rng)}
    return list(found.values())


def lengths(candidates: Sequence[Tensor], end: int | None) -> list[list[Tensor]]:
    """The candidates of every position, for each length that a sequence can have."""
    if end is None:
        return [list(candidates)] if all(map(len, candidates)) else []
    inner = [tokens[tokens != end] for tokens in candidates]
    lengths = []
    for length, tokens in enumerate(candidates, 1):
        slots = [*inner[: length - 1], tokens[tokens == end]]
        if all(map(len, slots)):
            lengths.append(slots)
    return lengths


def complete(found: dict[tuple[int, ...], Found], seen: Seen, most: int | None) -> bool:
    """Whether as many sequences were found as there are, or as many tokens as the span has dimensions."""
    if most is not None and len(found) >= most:
        return True
    return bool(found) and sum(map(len, found)) >= seen.span.rank


def unused(tokens: Tensor, place: int, found: Iterable[tuple[int, ...]]) -> Tensor:
    """How often to begin with each token: more often with those that no sequence has at this place, whose sequences are missing."""
    there = {one[place] for one in found if place < len(one)}
    return torch.tensor([1.0 if token in there else NEW for token in tokens.tolist()])


def _few(slots: list[Tensor]) -> bool:
    return math.prod(map(len, slots)) <= FEW


def _of_length(
    body: Body, seen: Seen, slots: list[Tensor], weights: list[Tensor], starts: int, rng: torch.Generator
) -> list[Found]:
    if _few(slots):
        ids = torch.cartesian_prod(*slots).reshape(-1, len(slots))
    else:
        drawn = [
            tokens[torch.multinomial(often, starts, replacement=True, generator=rng)]
            for tokens, often in zip(slots, weights)
        ]

        def near(tried: Tensor) -> Tensor:
            parts = [_apart(body, seen, part, torch.float32) for part in tried.split(_rows(tried, seen))]
            return torch.cat(parts).clamp_min(1).log().sum(1)

        ids = descend(torch.stack(drawn, 1), slots, near).unique(dim=0)
    worst = torch.cat([_apart(body, seen, part, torch.float64).amax(1) for part in ids.split(_rows(ids, seen))])
    return [
        Found(tokens=tuple(row), distance=float(apart)) for row, apart in zip(ids.tolist(), worst) if float(apart) <= 1
    ]


def descend(ids: Tensor, slots: Sequence[Tensor], judged: Callable[[Tensor], Tensor]) -> Tensor:
    """Exchanges the best token for each position in turn, all starts [n, length] side by side, until nothing changes.

    Args:
        judged: of sequences [n, length], how bad they are, [n].
    """
    while True:
        before = ids
        for place, tokens in enumerate(slots):
            if len(tokens) == 1:
                continue
            tried = ids[:, None].repeat(1, len(tokens), 1)
            tried[:, :, place] = tokens
            best = judged(tried.flatten(0, 1)).reshape(len(ids), -1).argmin(1)
            ids = tried[torch.arange(len(ids)), best]
        if torch.equal(ids, before):
            return ids


def _apart(body: Body, seen: Seen, ids: Tensor, dtype: torch.dtype) -> Tensor:
    """Distances of every position [n, length] to the span."""
    return seen.distance(body.inputs(ids, None, seen.reader, dtype=dtype).double())


def _rows(ids: Tensor, seen: Seen) -> int:
    return max(1, CHUNK // (ids.shape[1] * seen.reader.features * 4))
