"""iLRG: instance-wise label recovery through class-mean embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gradiometer.core import Attack, Card, Guess, NotApplicable, Update
from gradiometer.numerics.labels import as_labels, ilrg, largest_remainder, single_label

from .view import view_head


@dataclass(frozen=True, kw_only=True)
class ILRG(Attack):
    """Solves for the counts with probabilities that it predicts from the gradient's own class embeddings. No data.

    Args:
        refinements: how often embeddings and counts are solved for in turn; 0 is the paper.
    """

    card: ClassVar[Card] = Card(
        summary="Counts labels by a linear system whose probabilities come from the class embeddings dW_c / db_c.",
        title="Instance-wise Batch Label Restoration via Gradients in Federated Learning",
        authors="Ma, Sun, Cui, Li, Guan, Liu",
        year=2023,
        modality="any",
        family="labels",
        formula="sum_k n_k (softmax(W e_k + b)_c - [k = c]) = B db_c, sum_k n_k = B, e_k = dW_k / db_k",
        needs=("model", "batch_size"),
        departs="double precision, rounding by largest remainder, and embeddings that are unmixed in turns",
    )
    refinements: int = 20

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        seen = view_head(update)
        if seen.bias is None:
            raise NotApplicable("iLRG needs the gradient of the head's bias, and the head has none", fix="use RowSum")
        if seen.size == 1:
            return Guess(tensors={"y": torch.tensor([single_label(seen.weight, seen.bias)])})
        head = update.need("model").get_submodule(seen.head.module)
        weight, bias = head.weight.detach().double(), head.bias.detach().double()
        counts = ilrg(seen.weight, seen.bias, weight, bias, seen.size, self.refinements)
        y = as_labels(largest_remainder(counts, seen.size))
        return Guess(tensors={"y": y}, confidence=_margin(counts)[y])


def _margin(counts: Tensor) -> Tensor:
    """How far a count is from the next rounding border: 1 on an integer, 0 in the middle of two."""
    return 1 - 2 * (counts - counts.round()).abs()
