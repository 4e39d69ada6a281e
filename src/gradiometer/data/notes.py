"""Made-up clinic notes: short sentences that may be shown to anybody, for demonstrations and tests."""

from __future__ import annotations

from itertools import product

from gradiometer.core import Data, DataCard

from .text import from_texts

notes_card = DataCard(name="notes", source="short sentences made up for gradiometer", license="Apache-2.0", public=True)

_WHO = ("the patient", "she", "he", "an elderly man", "a young woman", "our new patient")
_COMPLAINTS = (
    "reports mild pain in the left knee",
    "has had a dry cough since monday",
    "feels dizzy after the second dose",
    "could not sleep because of chest pain",
    "came back with a fever of 39 degrees",
    "lost three kilograms within a month",
    "complains about a rash on both hands",
    "was sick twice during the night",
)
_RELIEFS = (
    "slept well and feels much better",
    "can walk without any pain again",
    "has no fever and eats normally",
    "needs no further treatment",
    "went home in good spirits",
    "shows a clean wound that heals quickly",
    "breathes freely and may stop the spray",
    "is happy with the new glasses",
)
_ENDS = ("", "today", "according to the nurse", "so we meet again in may")


def notes(length: int = 20, *, public_share: float = 0.5, test_share: float = 0.2, seed: int = 0) -> Data:
    """384 sentences of a clinic that never was, complaints (1) and good news (0); one token a word.

    Args:
        length: tokens that a sequence has at most.
        public_share, test_share, seed: as in `from_texts`.
    """
    said = [
        (f"{who} {what} {end}".strip() + ".", kind)
        for kind, whats in enumerate((_RELIEFS, _COMPLAINTS))
        for who, what, end in product(_WHO, whats, _ENDS)
    ]
    return from_texts(
        [text for text, _ in said],
        [kind for _, kind in said],
        length=length,
        names=("good news", "complaint"),
        card=notes_card,
        public_share=public_share,
        test_share=test_share,
        seed=seed,
    )
