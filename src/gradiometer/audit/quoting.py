"""Quotes: sentences beside what came back of them. What is not public is masked before it is written anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradiometer.core import Data, Guess
from gradiometer.metrics import in_common
from gradiometer.metrics.score_text import Tokens, sentences

from .evidence import Case, Evidence, Record
from .modality import level_of
from .pictures import blurs
from .schema import Row
from .schema_shown import Quote, Token
from .setup import Setup
from .showing import shown
from .targets import Victim

MASK = "•••"
"""What stands for a masked word, however long it is."""


def quotes(setup: Setup, victim: Victim, number: int, guess: Guess, matched: Sequence[int | None]) -> Record:
    """For a trial's record: every true sentence and its guess, token by token; of a captured update the guesses alone.

    Args:
        matched: for every true sentence the position of its guess, or None.
    """
    if setup.plan.audit.gallery == "none" or "input_ids" not in guess:
        return {}
    mask, said = blurs(setup, victim), sentences(guess)
    if victim.data is None:
        pairs: list[tuple[Tokens, Tokens]] = [((), tokens) for tokens in said]
    else:
        real = sentences(victim.batch(number))
        pairs = [(one, () if j is None else said[j]) for one, j in zip(real, matched)]
    told = [
        {"truth": _pieces(one, other, victim.data, mask), "guess": _pieces(other, one, victim.data, mask)}
        for one, other in pairs
    ]
    return {"quotes": told, "masked": mask}


def _pieces(tokens: Tokens, other: Tokens, data: Data | None, mask: bool) -> list[dict[str, Any]]:
    """The tokens as people read them, and which of them the other sentence has in the same order."""
    tokenizer = None if data is None else data.tokenizer
    written = [str(token) if tokenizer is None else tokenizer.decode([token]) for token in tokens]
    return [
        {"text": MASK if mask else text.strip(), "right": right}
        for text, right in zip(written, in_common(tokens, other))
        if text.strip()  # marks of beginning and end are no words
    ]


def quoted(setup: Setup, evidence: Evidence, rows: Sequence[Row]) -> list[Quote]:
    """The same best, median and worst sentence through every defense; what attacks claim of a captured update."""
    return [_entry(*one) for one in shown(setup, evidence, rows, "quotes")]


def _entry(case: Case, kind: Any, record: Record, number: int, example: str) -> Quote:
    words, scores = record["quotes"][number], record.get("examples")
    score = scores[number] if scores else None
    return Quote(
        **case._asdict(),
        kind=kind,
        example=example,
        truth=[Token(**piece) for piece in words["truth"]],
        guess=[Token(**piece) for piece in words["guess"]],
        masked=record["masked"],
        rouge_l=score and score["rouge_l"],
        exact=bool(score and score["exact"]),
        leaked=score is not None and level_of(score) != "none",
    )
