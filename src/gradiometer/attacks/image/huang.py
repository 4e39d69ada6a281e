"""Huang: Inverting Gradients with the model's running statistics as prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradiometer.core import Card
from gradiometer.numerics.priors import BatchStatistics, Prior, TotalVariation

from ..matching import Matching
from ..matching.starts import Start


@dataclass(frozen=True, kw_only=True)
class Huang(Matching):
    """1 - cos + TV + distance of the batch statistics to the running averages: for trained models with BatchNorm.

    References:
        Huang, Gupta, Song, Li, Arora, "Evaluating Gradient Inversion Attacks and Defenses in Federated Learning",
        2021, arXiv:2112.00059.
    """

    card: ClassVar[Card] = Card(
        summary="Inverting Gradients with the running averages of BatchNorm as a prior on the batch's statistics.",
        title="Evaluating Gradient Inversion Attacks and Defenses in Federated Learning",
        authors="Huang, Gupta, Song, Li, Arora",
        year=2021,
        arxiv="2112.00059",
        modality="image",
        family="matching",
        formula="min_x 1 - cos(grad L(x,y), g) + a TV(x) + b sum_l ||mean_l - mean*_l|| + ||var_l - var*_l||",
        needs=("model", "recipe", "batch_size", "labels"),
        departs="1,000 iterations, to suit a CPU (public code: 10,000); weights 1e-3 and 1e-3, not tuned on large networks",
    )
    priors: tuple[Prior, ...] = (TotalVariation(weight=1e-3), BatchStatistics(weight=1e-3, source="running"))
    start: Start = "randn"
