"""Presence: is there a case of a class, or a property, in the batch? Right or wrong, and a score to rank batches by."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gradiometer.core import BadInput, Batch, Data, Guess

from .card import MetricCard

auc_card = MetricCard(
    summary="How likely a batch with the case is ranked above one without; 1/2 is guessing.", leak="higher"
)


@dataclass(frozen=True, kw_only=True)
class PresenceScore:
    """One answer about a batch.

    Args:
        there: the truth. said, blind: what the attack answers, and what somebody answers without an update.
        score: of the attack; over several batches, its AUC tells how well it knows.
    """

    there: bool
    said: bool
    blind: bool
    score: float


def score_presence(guess: Guess, truth: Batch, data: Data) -> PresenceScore:
    """Compares a guess about one class (`class`, [1]) or about a property (`mark` in its notes) with the batch.

    A property is there if its share of the batch lies nearer to the second of the notes' `shares` than to the first.
    Without an update, everybody expects batches like the public examples; without these, all classes are equally common
    and no property is there.

    Raises:
        BadInput: the batch does not say who has the property.
    """
    if "class" in guess:
        label = int(guess["class"])
        there, blind = bool((truth["y"] == label).any()), _expects(label, len(truth["y"]), data)
    else:
        mark, level = str(guess.notes["mark"]), sum(guess.notes["shares"]) / 2
        if mark not in truth:
            raise BadInput(f'the private examples do not say which of them have the property "{mark}"')
        there = _share(truth[mark]) > level
        blind = data.public is not None and mark in data.public and _share(data.public[mark]) > level
    score = guess["score"] if "score" in guess else guess["present"]
    return PresenceScore(there=there, said=bool(guess["present"]), blind=blind, score=float(score))


def _share(marks: Tensor) -> float:
    return float(marks.double().mean())


def _expects(label: int, n: int, data: Data) -> bool:
    classes = data.layout["y"].classes or int(data.private["y"].max()) + 1
    known = data.public is not None and "y" in data.public
    share = _share(data.public["y"] == label) if known else 1 / classes  # type: ignore[index]
    return 1 - (1 - share) ** n >= 0.5
