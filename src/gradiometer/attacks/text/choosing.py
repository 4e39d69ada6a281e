"""Of sequences that spans in noise rank, the batch whose simulated update is nearest to the one that was sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gradiometer.core import Batch, Values

from .prefixes import Sentence
from .ranking import Ranked

ALIKE = 0.7
"""Share of places at which two sequences of one batch may hold the same token."""
OTHERS, NEAREST, SHORTER, CONTINUED = 12, 6, 3, 3
"""Sequences, tokens at a place, earlier ends and tokens behind the last one that are tried in the place of one."""
MOST = 16
"""Sequences of a batch whose size is not known, at most."""
ROUNDED = 1e-5
"""Share of the largest entry below which a whole tensor is rounding."""
SURE, MODEL = 6.0, 0.02
"""Standard deviations and relative error of the noise's energy that noise explains."""

Settle = Callable[[Sequence[Sentence], Tensor | None], Batch | None]
Simulate = Callable[[Batch], Values]


@dataclass(kw_only=True)
class Judge:
    """How far what a batch would cause is from what was sent, in units of the noise.

    Args:
        settle: the batch of sequences with these targets, or with those that it finds. simulate: what a batch would send.
        sent: what was sent. levels: standard deviation of an entry's noise, of each tensor.
        left: simulations that may still be made.
    """

    settle: Settle
    simulate: Simulate
    sent: Values
    levels: Mapping[str, float]
    left: int
    targets: Tensor | None = None
    _known: dict[tuple[Sentence, ...], tuple[float, bool]] = field(default_factory=dict)

    def __call__(self, sentences: Sequence[Sentence], *, settle: bool = False) -> tuple[float, bool]:
        """The sum of squares, and whether noise explains it in every tensor; infinite where there is nothing to simulate.

        Args:
            settle: finds targets anew, which are kept for what is tried next.
        """
        key = tuple(sentences)
        if key not in self._known or settle:
            self.left -= 1
            self._known[key] = self._judged(
                sentences, settle or self.targets is None or len(self.targets) != len(sentences)
            )
        return self._known[key]

    def _judged(self, sentences: Sequence[Sentence], settle: bool) -> tuple[float, bool]:
        batch = self.settle(sentences, None if settle else self.targets)
        if batch is None:
            return float("inf"), False
        self.targets = batch.get("y")
        total, explained, caused = 0.0, True, self.simulate(batch)
        most = max(float(value.abs().amax()) for value in caused.values())
        for name, value in caused.items():
            # What a gradient that vanishes, as that of an attention's key biases, holds is rounding.
            level = self.levels.get(name, 0.0)
            if level and float(value.abs().amax()) > ROUNDED * most:
                energy = float((value - self.sent[name]).square().sum(dtype=torch.float64)) / level**2
                count = value.numel()
                total += energy
                explained &= energy <= count * (1 + MODEL) + SURE * (2 * count) ** 0.5
        return total, explained


def choose(judge: Judge, ranked: Sequence[Ranked], candidates: Sequence[Tensor], count: int | None) -> list[Sentence]:
    """The batch: the likeliest sequences that differ, then exchanged, in whole or in part, as long as that explains more.

    Args:
        ranked: the likeliest first. candidates: of every place, the nearest first.
        count: how many sequences there are; None: as many as explain more.
    """
    apart = different([one.tokens for one in ranked], count or MOST)
    batch = apart[: count or 1]
    while (
        count is None and len(batch) < len(apart) and judge(apart[: len(batch) + 1], settle=True)[0] < judge(batch)[0]
    ):
        batch = apart[: len(batch) + 1]
    while judge.left > 0:
        before = batch
        batch = _exchanged(judge, batch, lambda one: _ends(one, candidates))
        batch = _exchanged(judge, batch, lambda one: _instead(one, [other.tokens for other in ranked], candidates))
        if batch == before:
            break
    return batch


def _exchanged(
    judge: Judge, batch: list[Sentence], offered: Callable[[Sentence], Iterator[Sentence]]
) -> list[Sentence]:
    """The batch after one round over its sequences, in which each is exchanged for what explains more."""
    least, explained = judge(batch)
    for row in range(len(batch)):
        for other in offered(batch[row]):
            if judge.left <= 0 or explained or least == float("inf"):
                return batch
            if other in batch:
                continue
            tried = [*batch[:row], other, *batch[row + 1 :]]
            if judge(tried)[0] < least:
                batch = tried
                least, explained = judge(tried, settle=True)
    return batch


def different(sentences: Sequence[Sentence], most: int) -> list[Sentence]:
    """The first ones of which no two are alike."""
    found = list[Sentence]()
    for one in sentences:
        if len(found) == most:
            break
        if all(_shared(one, other) <= ALIKE for other in found):
            found.append(one)
    return found


def _shared(one: Sentence, other: Sentence) -> float:
    return sum(a == b for a, b in zip(one, other)) / max(1, min(len(one), len(other)))


def _ends(one: Sentence, candidates: Sequence[Tensor]) -> Iterator[Sentence]:
    """A sequence with fewer tokens, or one more."""
    length = len(one)
    yield from (one[:shorter] for shorter in range(length - 1, max(0, length - 1 - SHORTER), -1))
    if length < len(candidates):
        yield from ((*one, token) for token in candidates[length][:CONTINUED].tolist())


def _instead(one: Sentence, ranked: Sequence[Sentence], candidates: Sequence[Tensor]) -> Iterator[Sentence]:
    """A sequence with one token exchanged, and others."""
    for place, tokens in enumerate(candidates[: len(one)]):
        for token in tokens[:NEAREST].tolist():
            if token != one[place]:
                yield (*one[:place], token, *one[place + 1 :])
    yield from [other for other in ranked if other != one][:OTHERS]
