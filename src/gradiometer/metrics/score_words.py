"""score_words: how much of a batch's vocabulary an attack tells, for those that see which words were said and not where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from dataclasses import dataclass

import torch

from gradiometer.core import Batch, Data, Guess

from .card import MetricCard
from .score_text import sentences

word_overlap_card = MetricCard(
    summary="Share of the tokens that a guess or a batch holds which both hold, wherever they stand.", leak="higher"
)


@dataclass(frozen=True, kw_only=True)
class WordScore:
    """How well the set of a batch's tokens was told: overlap in [0,1], that of the best blind guess, and equality."""

    overlap: float
    blind: float
    exact: bool


def score_words(guess: Guess, truth: Batch, data: Data, *, rng: torch.Generator) -> WordScore:
    """Scores a guessed `bag` [k] of tokens by `|guessed and said| / |guessed or said|`.

    Without an update, somebody names the tokens of as many public sentences, drawn by `rng`, or as many of the commonest
    public tokens as these hold; without public data, all tokens of the vocabulary.
    """
    said, told = bag(truth), set(guess["bag"].tolist())
    if data.public is None:
        blind = [set(range(data.layout["input_ids"].classes or 0))]
    else:
        drawn = torch.randint(data.public.size, (truth.size,), generator=rng)
        random = bag(data.public.take(drawn))
        counts = Counter(token for tokens in sentences(data.public) for token in tokens)
        blind = [random, {token for token, _ in counts.most_common(len(random))}]
    return WordScore(
        overlap=word_overlap(told, said), blind=max(word_overlap(one, said) for one in blind), exact=told == said
    )


def bag(batch: Batch) -> set[int]:
    """The tokens that a batch holds."""
    return {token for tokens in sentences(batch) for token in tokens}


def word_overlap(one: Set[int], other: Set[int]) -> float:
    """Jaccard's index: what both hold over what either holds; 1 for two empty sets."""
    return len(one & other) / len(one | other) if one or other else 1.0
