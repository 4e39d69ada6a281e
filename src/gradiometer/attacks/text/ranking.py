"""Spans in noise: what lies nearest to them, ranked, where weak directions have drowned and nothing lies inside any more."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.core import Channel, Values

from .body import Body
from .exchange import descend
from .prefixes import Sentence, distances
from .seeing import Seen, behind_noise

FRONT, READERS, RESOLVED = 8, 3, 0.7
"""Inputs of maps that are looked at, how many of them judge a token in its context, and how many directions of the most they must show."""
CONTROLS, STARTS = 16, 8
"""Random tokens beside the candidates, by which a distance is judged, and beginnings of an encoder's search, each length."""
SPEAKS = 0.5
"""Share of the usual log-odds of a token in the likeliest sequence that speaks for another one as its next."""
CHUNK = 2**15


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """A sequence and its log-odds: how far below those of random tokens the logarithms of its distances lie, summed."""

    tokens: Sentence
    odds: float


def levels(channel: Channel | None, values: Values) -> dict[str, float]:
    """Standard deviation of an entry's error of each tensor, where the channel knows it and there is one."""
    if channel is None:
        return {}
    found = {}
    for name, variance in channel.variance(values).items():
        mean = float(variance.mean(dtype=torch.float64))
        if not math.isfinite(mean):
            mean = float(variance[variance.isfinite()].mean(dtype=torch.float64))
        if mean > 0:
            found[name] = mean**0.5
    return found


def seen_in_noise(body: Body, values: Values, told: Mapping[str, float]) -> tuple[list[Seen], list[Seen]]:
    """What tells tokens at their places, and the maps that tell most tokens in their context apart."""
    readers = [one for one in body.readers(values) if all(name in told for name in one.weights)][:FRONT]
    seen = [
        found for one in readers if (found := behind_noise(one, values, told)) and found.span.rank and not found.full
    ]
    alone = [one for one in seen if not one.reader.contextual]
    together = [one for one in seen if one.reader.contextual]
    most = max((one.span.rank for one in together), default=0)
    telling = [one for one in together if one.span.rank >= RESOLVED * most]
    return alone, telling[:READERS]


def cost(body: Body, seen: Sequence[Seen], ids: Tensor, **where: Tensor) -> Tensor:
    """Mean over maps of the logarithm of the distance to their spans, in units of what noise explains; as `ids`."""
    found = [one.distance(body.inputs(ids, None, one.reader, dtype=torch.float32, **where).double()) for one in seen]
    return _judged(found)


def likely(body: Body, alone: Sequence[Seen], vocabulary: Tensor, length: int, keep: int) -> list[Tensor]:
    """For every place, the tokens nearest to the spans, the nearest first."""
    found = []
    for place in range(length):
        parts = []
        for tokens in vocabulary.split(CHUNK // 4):
            ids = tokens[:, None]
            parts.append(cost(body, alone, ids, positions=torch.full_like(ids, place))[:, 0])
        found.append(vocabulary[torch.cat(parts).topk(min(keep, len(vocabulary)), largest=False).indices])
    return found


def grow_ranked(
    body: Body,
    together: Sequence[Seen],
    candidates: Sequence[Tensor],
    controls: Tensor,
    *,
    end: int | None,
    beams: int,
) -> list[Ranked]:
    """Decoders: the likeliest beginnings, grown token by token; the likeliest sequences first.

    Args:
        controls: [k], random tokens, which did not enter.
        end: the token that closes every sequence; None: each beginning may be a whole one.
        beams: beginnings that are followed at once.
    """
    complete, open_ = list[Ranked](), [Ranked(tokens=(), odds=0.0)]
    for tokens in candidates:
        beginnings = [one.tokens for one in open_]
        offered = torch.cat([tokens, controls])
        near = _judged([distances(body, one, beginnings, offered) for one in together])
        odds = near[:, len(tokens) :].amin(1, keepdim=True) - near[:, : len(tokens)]
        longer = [
            Ranked(tokens=(*one.tokens, token), odds=one.odds + more)
            for one, row in zip(open_, odds.tolist())
            for token, more in zip(tokens.tolist(), row)
        ]
        if end is not None:
            complete += [one for one in longer if one.tokens[-1] == end]
            longer = [one for one in longer if one.tokens[-1] != end]
        open_ = sorted(longer, key=lambda one: -one.odds)[:beams]
        if not open_:  # every sequence is closed
            break
        if end is None:
            complete += open_
    if end is None and complete:
        usual = SPEAKS * max(one.odds / len(one.tokens) for one in complete if len(one.tokens) >= len(candidates) / 2)
        complete = [Ranked(tokens=one.tokens, odds=one.odds - usual * len(one.tokens)) for one in complete]
    return sorted(complete, key=lambda one: -one.odds)


def exchange_ranked(
    body: Body,
    together: Sequence[Seen],
    candidates: Sequence[Tensor],
    controls: Tensor,
    *,
    end: int | None,
    least: int,
    rng: torch.Generator,
) -> list[Ranked]:
    """Encoders: for each length, random sequences of which every token in turn is exchanged for the best; the likeliest first.

    Args:
        least: the shortest length.
    """
    found: dict[Sentence, Ranked] = {}
    for length in range(least, len(candidates) + 1):
        slots = list(candidates[:length])
        if end is not None:
            if end not in slots[-1]:
                continue
            slots[-1] = torch.tensor([end])
        weights = [torch.linspace(2, 1, len(tokens)) for tokens in slots]
        drawn = [
            tokens[torch.multinomial(often, STARTS, replacement=True, generator=rng)]
            for tokens, often in zip(slots, weights)
        ]
        drawn = [torch.cat([tokens[:1], column[1:]]) for tokens, column in zip(slots, drawn)]
        ids = descend(torch.stack(drawn, 1), slots, lambda tried: _in_parts(body, together, tried)).unique(dim=0)
        others = controls[torch.randint(len(controls), (CONTROLS, length), generator=rng)]
        level = _in_parts(body, together, others).mean()
        for row, near in zip(ids.tolist(), _in_parts(body, together, ids).tolist()):
            found[tuple(row)] = Ranked(tokens=tuple(row), odds=float(level) - near)
    return sorted(found.values(), key=lambda one: -one.odds)


def _in_parts(body: Body, seen: Sequence[Seen], ids: Tensor) -> Tensor:
    parts = ids.split(max(1, CHUNK // (4 * ids.shape[1])))
    return torch.cat([cost(body, seen, part).sum(1) for part in parts])


def _judged(found: Sequence[Tensor]) -> Tensor:
    return torch.stack([one.clamp_min(1).log() for one in found]).mean(0)
