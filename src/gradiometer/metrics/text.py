"""Text metrics: overlaps of word or token sequences, in [0, 1]."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

from .card import MetricCard

Words = Sequence[Hashable]

_ROUGE = "Lin, ROUGE: A Package for Automatic Evaluation of Summaries, 2004"
rouge_n_card = MetricCard(summary="F-measure of shared n-grams.", leak="higher", source=_ROUGE)
rouge_l_card = MetricCard(summary="F-measure of the longest common subsequence.", leak="higher", source=_ROUGE)
token_accuracy_card = MetricCard(summary="Share of places with the true token.", leak="higher")


def rouge_n(guess: Words, truth: Words, n: int = 1) -> float:
    """F-measure of n-grams in common, each as often as it occurs in both:

        P = shared / n-grams of the guess,   R = shared / n-grams of the truth,   F = 2 P R / (P + R).

    Sequences without any n-gram (shorter than n) agree if they are equal: a word guessed right has ROUGE-2 1.

    References:
        Lin, ROUGE: A Package for Automatic Evaluation of Summaries, 2004.
    """
    one, other = (Counter(zip(*(words[i:] for i in range(n)))) for words in (guess, truth))
    if not one and not other:
        return float(list(guess) == list(truth))
    return _f_measure((one & other).total(), one.total(), other.total())


def rouge_l(guess: Words, truth: Words) -> float:
    """F-measure of the longest common subsequence, in order but with gaps: as `rouge_n`, with its length for `shared`.

    References:
        Lin, ROUGE: A Package for Automatic Evaluation of Summaries, 2004.
    """
    if not guess and not truth:
        return 1.0
    return _f_measure(_lengths(guess, truth)[0][0], len(guess), len(truth))


def in_common(guess: Words, truth: Words) -> list[bool]:
    """Which of the guessed words belong to the longest common subsequence: those that ROUGE-L counts, for reports."""
    lengths, marks, j = _lengths(guess, truth), [], 0
    for i, word in enumerate(guess):
        while j < len(truth) and lengths[i][j + 1] == lengths[i][j] > lengths[i + 1][j]:
            j += 1
        marks.append(j < len(truth) and word == truth[j])
        j += marks[-1]
    return marks


def _lengths(guess: Words, truth: Words) -> list[list[int]]:
    """Of the longest common subsequence of `guess[i:]` and `truth[j:]`, for all i and j."""
    table = [[0] * (len(truth) + 1)]
    for word in reversed(guess):
        below, row = table[-1], [0]
        for j in range(len(truth) - 1, -1, -1):
            row.append(below[j + 1] + 1 if word == truth[j] else max(below[j], row[-1]))
        table.append(row[::-1])
    return table[::-1]


def token_accuracy(guess: Words, truth: Words) -> float:
    """Share of places at which both have the same token; places that only one of them has count as wrong."""
    longest = max(len(guess), len(truth))
    return sum(one == other for one, other in zip(guess, truth)) / longest if longest else 1.0


def _f_measure(shared: int, guessed: int, true: int) -> float:
    return 2 * shared / (guessed + true) if shared else 0.0
