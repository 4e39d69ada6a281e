"""iDLG's label rule: the label of a single example from the weight gradient of the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from gradiometer.core import Attack, Card, Guess, NotApplicable, Update
from gradiometer.numerics.labels import single_label

from .view import view_head


@dataclass(frozen=True, kw_only=True)
class IDLGLabels(Attack):
    """The row of the label points against all other rows: `dW_c = (p_c - [c = y]) h`. A batch of one only."""

    card: ClassVar[Card] = Card(
        summary="Reads the label of a single example off the signs of the head's weight gradient.",
        title="iDLG: Improved Deep Leakage from Gradients",
        authors="Zhao, Mopuri, Bilen",
        year=2020,
        arxiv="2001.02610",
        modality="any",
        family="labels",
        formula="y = the c with <dW_c, dW_j> <= 0 for all j != c",
        departs="since the rows sum to zero, that c is the longest row; row sums decide between two classes only",
    )

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        seen = view_head(update)
        if seen.size > 1:
            raise NotApplicable(
                f"iDLG's rule reads one example, and {seen.size} stand behind this update", fix="use RowSum or ILRG"
            )
        return Guess(tensors={"y": torch.tensor([single_label(seen.weight, None)])})
