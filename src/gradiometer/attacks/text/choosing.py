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
OTHERS, NEAREST, CONTINUED = 12, 6, 3
"""Sequences, tokens at a place and tokens behind the last one that are tried in the place of one."""
MOST = 16
"""Sequences of a batch whose size is not known, at most."""
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
            self._known[key] = self._judged(sentences, settle or self.targets is None)
        return self._known[key]

    def _judged(self, sentences: Sequence[Sentence], settle: bool) -> tuple[float, bool]:
        batch = self.settle(sentences, None if settle else self.targets)
        if batch is None:
            return float("inf"), False
        self.targets = batch.get("y")
        total, explained = 0.0, True
        for name, value in self.simulate(batch).items():
            if level := self.levels.get(name):
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
    apart = _different([one.tokens for one in ranked], count or MOST)
    batch = apart[: count or 1]
    while count is None and len(batch) < len(apart) and judge(apart[: len(batch) + 1], settle=True)[0] < judge(batch)[0]:
        batch = apart[: len(batch) + 1]
    least, explained = judge(batch)
    better = True
    while better and not explained and judge.left > 0 and least < float("inf"):
        better = False
        for row in range(len(batch)):
            for other in _instead(batch[row], [one.tokens for one in ranked], candidates):
                if judge.left <= 0 or explained:
                    return batch
                if other in batch:
                    continue
                tried = [*batch[:row], other, *batch[row + 1 :]]
                if judge(tried)[0] < least:
                    (least, explained), batch, better = judge(tried, settle=True), tried, True
    return batch


def _different(sentences: Sequence[Sentence], most: int) -> list[Sentence]:
    found = list[Sentence]()
    for one in sentences:
        if len(found) == most:
            break
        if all(_shared(one, other) <= ALIKE for other in found):
            found.append(one)
    return found


def _shared(one: Sentence, other: Sentence) -> float:
    return sum(a == b for a, b in zip(one, other)) / max(1, min(len(one), len(other)))


def _instead(one: Sentence, ranked: Sequence[Sentence], candidates: Sequence[Tensor]) -> Iterator[Sentence]:
    """What may stand in the place of a sequence: those of its kind, it with one token less, more or exchanged, others."""
    length = len(one)
    if length > 1:
        yield one[:-1]
    if length < len(candidates):
        for token in candidates[length][:CONTINUED].tolist():
            yield (*one, token)
    for place, tokens in enumerate(candidates[:length]):
        for token in tokens[:NEAREST].tolist():
            if token != one[place]:
                yield (*one[:place], token, *one[place + 1 :])
    yield from [other for other in ranked if other != one][:OTHERS]
