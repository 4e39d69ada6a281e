"""N-grams with interpolated Kneser-Ney smoothing: the language model that a few thousand public sentences suffice for."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.core import BadConfig, Batch, Update

from .prior import Sentence

START, STOP = -1, -2
"""Marks beside the vocabulary: before the first token, and behind the last."""
Words = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class KneserNey:
    """N-grams of the public sentences that the threat grants.

    Args:
        order: tokens of an n-gram.

    References:
        Kneser, Ney, Improved backing-off for M-gram language modeling, 1995.
        Chen, Goodman, An empirical study of smoothing techniques for language modeling, 1999.
    """

    order: int = 3

    def __post_init__(self) -> None:
        if self.order < 1:
            raise BadConfig(f"an n-gram has at least one token, got order {self.order}")

    def learned(self, update: Update) -> NGrams:
        """See `LanguagePrior.learned`."""
        public: Batch = update.need("public")
        vocabulary = update.layout["input_ids"].classes or 0
        rows = zip(public["input_ids"].cpu(), public["attention_mask"].cpu().bool())
        return NGrams((row[there].tolist() for row, there in rows), vocabulary, self.order)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Level:
    """Counts of n-grams of one length: how often each, and behind each context how many, of how many kinds."""

    counts: Counter[Words]
    totals: Counter[Words]
    kinds: Counter[Words]
    discount: float

    @classmethod
    def of(cls, counts: Counter[Words]) -> _Level:
        totals, kinds = Counter[Words](), Counter[Words]()
        for gram, count in counts.items():
            totals[gram[:-1]] += count
            kinds[gram[:-1]] += 1
        once, twice = (sum(count == n for count in counts.values()) for n in (1, 2))
        return cls(counts=counts, totals=totals, kinds=kinds, discount=once / max(once + 2 * twice, 1) or 0.5)


class NGrams:
    """p(w | h) = max(c(hw) - D, 0) / c(h) + D kinds(h) / c(h) p(w | h'), where h' is h without its first token.

    c counts sentences' n-grams at the highest order; below, how many different tokens stand before an n-gram (so that "Francisco",
    common but only behind "San", is rare elsewhere). D = n1 / (n1 + 2 n2), from how many n-grams occur once and twice. At
    the bottom all tokens are equally likely.

    Args:
        sentences: to learn from. vocabulary: how many tokens there are. order: tokens of an n-gram.
    """

    def __init__(self, sentences: Iterable[Sentence], vocabulary: int, order: int = 3) -> None:
        self.order, self._floor = order, 1 / (vocabulary + 1)
        counts = Counter[Words]()
        for sentence in sentences:
            marked = (*[START] * (order - 1), *sentence, STOP)
            counts.update(zip(*(marked[i:] for i in range(order))))
        levels = [_Level.of(counts)]
        for _ in range(order - 1):
            before = defaultdict[Words, int](int)
            for gram in levels[-1].counts:
                before[gram[1:]] += 1
            levels.append(_Level.of(Counter(before)))
        self._levels = levels[::-1]
        self._known: dict[Words, float] = {}

    def surprise(self, sentences: Sequence[Sentence], *, whole: bool = True) -> Tensor:
        """See `Language.surprise`."""
        return torch.tensor([self._of(tuple(one), whole) for one in sentences], dtype=torch.float64)

    def _of(self, sentence: Words, whole: bool) -> float:
        marked = (*[START] * (self.order - 1), *sentence, *([STOP] if whole else []))
        return sum(self._told(marked[i : i + self.order]) for i in range(len(marked) - self.order + 1))

    def _told(self, gram: Words) -> float:
        if gram not in self._known:
            self._known[gram] = -math.log(self._probability(gram))
        return self._known[gram]

    def _probability(self, gram: Words) -> float:
        p = self._floor
        for n, level in enumerate(self._levels, 1):
            part = gram[len(gram) - n :]
            total = level.totals[part[:-1]]
            if not total:
                break
            kept = max(level.counts[part] - level.discount, 0.0)
            p = (kept + level.discount * level.kinds[part[:-1]] * p) / total
        return p
