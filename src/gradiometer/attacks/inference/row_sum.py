"""RowSum: the labels of a batch by the exact identity of the head's gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from gradiometer.core import Attack, Card, Channel, Guess, Update
from gradiometer.numerics.counting import Counts, count_labels, expected
from gradiometer.numerics.labels import as_labels, mean_embedding, single_label

from .drift import simulated_drift
from .reference import Directions, Others, directions, other_examples, passages, reference
from .view import HeadView, view_head


@dataclass(frozen=True, kw_only=True)
class RowSum(Attack):
    """Counts labels by `n_c = B (mean_i p_ic - dL/db_c)`; for a batch of one, the only negative entry is the label, and without a
    bias the longest row, unless there are two classes.

    The mean probability is not observed. Other inputs that pass through the model tell its expectation, and how the
    rest of the head's gradient moves with it; the counts are then an integer least-squares fit (`count_labels`).
    Heads without a bias are read along the direction in which all inputs are 1. For a weight delta, probabilities
    are averaged over the model before and after the round, and the rest of the drift is simulated with the labels
    found so far, in turns; the turn whose simulation fits best counts.

    Args:
        source: inputs to learn from: `public` data, `dummy` noise (no data needed; their mean is corrected by what
            the gradient itself shows), or `auto`: public where the threat grants it.
        examples: how many of them at most.
        simulations: turns of simulated local training (deltas of several steps).
        channel: what an informed attacker knows of a defense.
    """

    card: ClassVar[Card] = Card(
        summary="Counts the labels of a batch by the exact identity of the head's gradient; exact for one example.",
        modality="any",
        family="labels",
        formula="n_c = B (mean_i p_ic - dL/db_c)",
        needs=("batch_size",),
        departs="the identity is folklore (iDLG, LLG, iLRG use parts of it); the integer least squares are ours",
    )
    source: Literal["auto", "public", "dummy"] = "auto"
    examples: int = 1024
    simulations: int = 6
    channel: Channel | None = None

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        seen = view_head(update, self.channel)
        # Of two classes without a bias both rows are one vector and its negative: only the inputs' direction tells which is which.
        either = seen.bias is None and len(seen.weight) == 2 and update.model is not None
        if seen.size == 1 and not either:
            y = torch.tensor([single_label(seen.weight, seen.bias)])
            return Guess(tensors={"y": y}, notes={"rule": "sign"})
        others = other_examples(update, self.source, self.examples, rng)
        found = self._count(update, seen, others, rng)
        y, notes = as_labels(found.counts), {"source": others.source}
        return Guess(tensors={"y": y}, confidence=torch.full(y.shape, found.confidence), notes=notes)

    def observing(self, channel: Channel) -> Self:
        return replace(self, channel=channel)

    def _count(self, update: Update, seen: HeadView, others: Others, rng: torch.Generator) -> Counts:
        shown = passages(update, seen, others, rng)
        along = directions(shown[0], seen.bias is not None)
        signal, noise = along.signal(seen), self._noise(update, seen, along)
        still = like = reference(shown, along, others.labels)
        found = count_labels(signal, like, seen.size, noise)
        if others.source == "dummy" and seen.bias is not None:
            for _ in range(3):
                mean = mean_embedding(seen.weight, seen.bias, found.counts.double())
                like = reference([passage.moved(mean) for passage in shown], along, None)
                found = count_labels(signal, like, seen.size, noise)
        if update.sends == "gradient" or update.need("recipe").steps == 1:
            return found
        candidates = []
        for _ in range(self.simulations):
            drift = simulated_drift(update, others, still, along, found.counts, rng)
            misfit = float((signal - drift - expected(like, found.counts)).norm())
            candidates.append((misfit, found))
            found = count_labels(signal - drift, like, seen.size, noise)
        return min(candidates, key=lambda candidate: candidate[0])[1] if candidates else found

    def _noise(self, update: Update, seen: HeadView, along: Directions) -> Tensor | None:
        """Covariance of the defense's error in the signal, [classes, directions, directions]."""
        if self.channel is None:
            return None
        variance = seen.variance(self.channel.variance(update.values))
        return torch.einsum("cf,fk,fl->ckl", variance, along.matrix, along.matrix) * seen.size**2
