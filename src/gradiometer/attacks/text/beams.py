"""Beam search: sentences of given words that a language finds least surprising, grown token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch

from gradiometer.numerics.language import Language

from .moves import draw, moved
from .prefixes import Sentence


@dataclass(frozen=True, kw_only=True)
class Words:
    """What a sentence can be made of.

    Args:
        bag: the tokens.
        longest: tokens of a sentence, at most.
        end: the token that closes every sentence, and stands nowhere else; None: there is none.
        all_used: every token of the bag occurs, and there are exactly `longest`: the sentence is the only one.
    """

    bag: Sequence[int]
    longest: int
    end: int | None = None
    all_used: bool = False

    def behind(self, sentence: Sentence) -> list[int]:
        """The tokens that can follow."""
        last = len(sentence) + 1 == self.longest
        if self.end is not None and last:
            return [self.end]
        inner = [token for token in self.bag if token != self.end]
        if not self.all_used:
            return inner if self.end is None or not sentence else [*inner, self.end]
        missing = [token for token in inner if token not in sentence]
        left = self.longest - len(sentence) - (self.end is not None)
        return missing if len(missing) >= left else inner

    def complete(self, sentence: Sentence) -> bool:
        """Whether nothing need follow."""
        if self.all_used:
            return len(sentence) == self.longest
        return self.end is None or sentence[-1] == self.end


@dataclass(frozen=True, kw_only=True, order=True)
class Said:
    """A sentence, and how it reads: nats a token, with what repetitions cost."""

    surprise: float
    tokens: Sentence = field(compare=False)


def read(language: Language, words: Words, sentences: Sequence[Sentence], penalty: float) -> list[float]:
    """Nats a token of complete sentences; every pair of neighbors that comes again costs `penalty` more."""
    told = language.surprise(sentences, whole=True).tolist()
    return [(nats + penalty * _repeated(one)) / len(one) for nats, one in zip(told, sentences)]


def search(language: Language, words: Words, *, beams: int, penalty: float) -> list[Said]:
    """Complete sentences, the least surprising first.

    Args:
        beams: beginnings that are followed at once.
        penalty: nats that a repeated pair of neighbors costs.
    """
    complete: dict[Sentence, Said] = {}
    open_: list[Sentence] = [()]
    for _ in range(words.longest):
        longer = [(*one, token) for one in open_ for token in words.behind(one)]
        if not longer:
            break
        done = [one for one in longer if words.complete(one)]
        complete |= {
            one: Said(tokens=one, surprise=nats) for one, nats in zip(done, read(language, words, done, penalty))
        }
        going = [one for one in longer if words.end is None or one[-1] != words.end]
        nats = language.surprise(going, whole=False).tolist() if going else []
        costs = {one: told + penalty * _repeated(one) for one, told in zip(going, nats)}
        open_ = sorted(costs, key=lambda one: (costs[one], one))[:beams]
    return sorted(complete.values())


def changed(sentence: Sentence, words: Words, rng: torch.Generator) -> Sentence:
    """A sentence after one move: another order, or another token; of one that is not the only one also a longer or shorter sentence."""
    closed = words.end is not None and sentence[-1] == words.end
    said, end = sentence[: len(sentence) - closed], sentence[len(sentence) - closed :]
    inner = [token for token in words.bag if token != words.end]
    if not said:
        return sentence
    kind, place, token = draw(4, rng), draw(len(said), rng), inner[draw(len(inner), rng)]
    if words.all_used:
        spare = said.count(said[place]) > 1
        if kind or not spare:
            return (*(said[i] for i in moved(len(said), rng)), *end)
        return (*said[:place], token, *said[place + 1 :], *end)
    if kind == 0:
        return (*(said[i] for i in moved(len(said), rng)), *end)
    if kind == 1 and len(sentence) < words.longest:
        return (*said[:place], token, *said[place:], *end)
    if kind == 2 and len(said) > 1:
        return (*said[:place], *said[place + 1 :], *end)
    return (*said[:place], token, *said[place + 1 :], *end)


def _repeated(sentence: Sentence) -> int:
    pairs = list(pairwise(sentence))
    return len(pairs) - len(set(pairs))
