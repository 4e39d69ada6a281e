"""FedAvgMatching: a weight delta read by unrolling the client's local training, or as one gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from gradiometer.core import Card, Guess, NotApplicable, Update

from ..matching import Matching


@dataclass(frozen=True, kw_only=True)
class FedAvgMatching(Matching):
    """Inverting Gradients on weight deltas of several local steps.

    `strong` unrolls the recipe (steps, batches, learning rate, optimizer) and matches the whole delta; `weak` takes
    -delta / (lr steps) as one gradient at the start, which errs more the longer the client trains. Where the client
    shuffles, its order of examples is not known and another one is simulated.

    References:
        Geiping et al., "Inverting Gradients", 2020, arXiv:2003.14053, section 6.
        Dimitrov, Balunović, Konstantinov, Vechev, "Data Leakage in Federated Averaging", 2022, arXiv:2206.12395.
    """

    card: ClassVar[Card] = Card(
        summary="Unrolls the client's local training and matches its whole weight delta; or takes it as one gradient.",
        title="Data Leakage in Federated Averaging",
        authors="Dimitrov, Balunović, Konstantinov, Vechev",
        year=2022,
        arxiv="2206.12395",
        modality="image",
        family="matching",
        formula="min_x 1 - cos(delta(x), delta) + 1e-4 TV(x)",
        needs=("model", "recipe", "batch_size", "labels"),
        departs="no order-invariant term between epochs: examples keep their place in every epoch",
    )

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        if update.sends != "delta":
            raise NotApplicable("FedAvgMatching reads weight deltas, and this update is a gradient")
        return super().run(update, rng)
