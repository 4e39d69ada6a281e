"""Encoders: every token sees all others, so that whole sequences are tried, and improved by exchanging one token at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .body import Body
from .prefixes import CHUNK, Found
from .seeing import Seen

FEW = 4096
"""So many combinations are all tried."""


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

    For each length, the search starts at random sequences of candidates. The sum over positions of the logarithm of the
    distance to the span falls with every token that is right, for its neighbors then see what they saw.

    Args:
        candidates: tokens that may stand at each position.
        end: the token that closes every sequence; None: there is one length, that of `candidates`.
        most: how many sequences there are, where it is known: the search ends with them.
        starts: of each length.
    """
    found: dict[tuple[int, ...], Found] = {}
    for length in range(1, len(candidates) + 1):
        if most is not None and len(found) >= most:
            break
        slots = [tokens if end is None else tokens[tokens != end] for tokens in candidates[:length]]
        if end is not None:
            slots[-1] = candidates[length - 1][candidates[length - 1] == end]
        elif length < len(candidates):
            continue
        if all(len(tokens) for tokens in slots):
            for one in _of_length(body, seen, slots, starts, rng):
                found[one.tokens] = one
    return list(found.values())


def _of_length(body: Body, seen: Seen, slots: list[Tensor], starts: int, rng: torch.Generator) -> list[Found]:
    if math.prod(len(tokens) for tokens in slots) <= FEW:
        ids = torch.cartesian_prod(*slots).reshape(-1, len(slots))
    else:
        drawn = [tokens[torch.randint(len(tokens), (starts,), generator=rng)] for tokens in slots]
        ids = _descend(body, seen, torch.stack(drawn, 1), slots).unique(dim=0)
    near = [_apart(body, seen, part, torch.float64).amax(1) for part in ids.split(_rows(ids, seen))]
    worst = torch.cat(near)
    return [
        Found(tokens=tuple(row), distance=float(apart)) for row, apart in zip(ids.tolist(), worst) if float(apart) <= 1
    ]


def _descend(body: Body, seen: Seen, ids: Tensor, slots: list[Tensor]) -> Tensor:
    """Exchanges the best token for each position in turn, all starts side by side, until nothing changes."""
    while True:
        before = ids
        for place, tokens in enumerate(slots):
            if len(tokens) == 1:
                continue
            tried = ids[:, None].repeat(1, len(tokens), 1)
            tried[:, :, place] = tokens
            flat = tried.flatten(0, 1)
            parts = [_apart(body, seen, part, torch.float32) for part in flat.split(_rows(flat, seen))]
            cost = torch.cat(parts).clamp_min(1).log().sum(1).reshape(len(ids), -1)
            ids = tried[torch.arange(len(ids)), cost.argmin(1)]
        if torch.equal(ids, before):
            return ids


def _apart(body: Body, seen: Seen, ids: Tensor, dtype: torch.dtype) -> Tensor:
    """Distances of every position [n, length] to the span."""
    return seen.distance(body.inputs(ids, None, seen.reader, dtype=dtype).double())


def _rows(ids: Tensor, seen: Seen) -> int:
    return max(1, CHUNK // (ids.shape[1] * seen.reader.features * 4))
