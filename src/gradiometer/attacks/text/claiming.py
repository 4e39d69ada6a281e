"""From sequences that lie in a span to a guess: their classes or last tokens, and whether they cause what was sent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.core import Batch, Channel, Guess, MissingKnowledge, NotApplicable, Update, Values

from .body import Body
from .covering import covering
from .prefixes import Found
from .seeing import Seen
from .targets import Known, settle
from .verifying import verify


@dataclass(frozen=True, kw_only=True, eq=False)
class Claims:
    """One update's sentences to be.

    Args:
        values: what was sent, as the channel decodes it.
    """

    body: Body
    update: Update
    values: Values
    channel: Channel | None

    @property
    def classes(self) -> int | None:
        """Of a sequence; None where next tokens are predicted."""
        label = self.update.layout.get("y")
        return None if label is None else label.classes

    @property
    def length(self) -> int:
        """How many tokens a sequence has at most."""
        return self.update.layout["input_ids"].shape[0]

    def known(self, sentences: Sequence[tuple[int, ...]]) -> Known:
        """Sentences whose classes or last tokens are looked for."""
        return Known(sentences=sentences, classes=self.classes, length=self.length)

    def settled(self, known: Known) -> Batch | None:
        """The batch with its targets; None where they cannot be told: no head, or a change of weights by unknown steps."""
        try:
            gradient = self.update.replace(values=self.values).as_gradient()
        except MissingKnowledge:
            return None
        return settle(self.body, self.update, gradient, known)

    def guess(self, found: list[Found], notes: dict[str, object], seen: Seen | None = None) -> Guess:
        """The guess that the sequences make, or those of them that fill the span, if that comes nearer to what was sent.

        Raises:
            NotApplicable: all sequences are as long as one can be, and the last token that is predicted would have no place.
        """
        found, most = sorted(found, key=lambda one: one.distance), self.update.batch_size
        guess = self._of(found[:most], notes)
        if seen is not None and (guess is None or not guess.notes["exact"]):
            fewer = covering(self.body, seen, found, most)
            if {one.tokens for one in fewer} != {one.tokens for one in found[:most]}:
                other = self._of(fewer, notes)
                if guess is None or (other is not None and apart(other) < apart(guess)):
                    guess = other
        if guess is None:
            raise NotApplicable("no sequence that lies in the spans leaves room for a last token")
        return guess

    def _of(self, found: list[Found], notes: dict[str, object]) -> Guess | None:
        short = [one for one in found if self.classes is not None or len(one.tokens) < self.length]
        if not short:
            return None
        known = self.known([one.tokens for one in short])
        batch = self.settled(known)
        if batch is None:
            whole = Known(sentences=known.sentences, classes=self.classes or 1, length=self.length)
            unknown = whole.batch(torch.zeros(len(short), dtype=torch.long))
            tensors = {name: unknown[name] for name in ("input_ids", "attention_mask")}
            return Guess(tensors=tensors, confidence=_depth(short), notes=notes | {"exact": False, "agreement": None})
        agreement, limit = verify(self.update, self.values, batch, self.channel)
        if agreement <= limit:
            confidence = torch.ones(batch.size)
        else:  # some may be there several times: then nobody knows which is as sure as which
            confidence = _depth(short) if batch.size == len(short) else _depth(short).min().repeat(batch.size)
        told = {"exact": agreement <= limit, "agreement": agreement}
        return Guess(tensors=dict(batch), confidence=confidence, notes=notes | told)


def apart(guess: Guess) -> float:
    """How far from what was sent; infinite where nobody can say."""
    agreement = guess.notes["agreement"]
    return math.inf if agreement is None else float(agreement)


def _depth(found: list[Found]) -> Tensor:
    """1 in the middle of the span, 1/2 at the tolerance."""
    return torch.tensor([1 / (1 + one.distance) for one in found])
