"""RowSum: the labels of a batch from the bias gradient of the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from gradiometer.core import Attack, Card, Guess, MissingKnowledge, Update
from gradiometer.numerics.labels import as_labels, largest_remainder, single_label

from .view import view_head


@dataclass(frozen=True, kw_only=True)
class RowSum(Attack):
    """Counts labels by n_c = B (mean_i p_ic - dL/db_c); for a batch of one, the only negative entry is the label."""

    card: ClassVar[Card] = Card(
        summary="Counts the labels of a batch by the exact identity of the head's bias gradient.",
        modality="any",
        family="labels",
        formula="n_c = B (mean_i p_ic - dL/db_c)",
        needs=("batch_size",),
    )

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        seen = view_head(update)
        if seen.size == 1:
            return Guess(tensors={"y": torch.tensor([single_label(seen.weight, seen.bias)])})
        model, public = update.need("model"), update.need("public")
        if seen.bias is None:
            raise MissingKnowledge("RowSum needs a head with a bias")
        with torch.no_grad():
            mean = model(public["x"]).double().softmax(1).mean(0)
        counts = largest_remainder(seen.size * (mean - seen.bias), seen.size)
        return Guess(tensors={"y": as_labels(counts)})
