"""TAG: DLG on sentences with a distance of squares and magnitudes, in which early layers count most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradiometer.core import Card
from gradiometer.numerics.distances import Distance, Elastic

from .matching import TextMatching


@dataclass(frozen=True, kw_only=True)
class TAG(TextMatching):
    """min over embeddings e of sum_l w_l (||grad_l L(e, y) - g_l||^2 + alpha |grad_l L(e, y) - g_l|_1), w falling with depth.

    References:
        Deng, Wang, Li, Wang, Shang, Liu, Rajasekaran, Ding, "TAG: Gradient Attack on Transformer-based Language Models", 2021,
        arXiv:2103.06819.
    """

    card: ClassVar[Card] = Card(
        summary="Matches text gradients by squares and magnitudes, early layers first, and takes the nearest tokens.",
        title="TAG: Gradient Attack on Transformer-based Language Models",
        authors="Deng, Wang, Li, Wang, Shang, Liu, Rajasekaran, Ding",
        year=2021,
        arxiv="2103.06819",
        modality="text",
        family="matching",
        formula="min_e sum_l w_l (||grad_l L(e, y) - g_l||^2 + alpha |grad_l L(e, y) - g_l|_1)",
        needs=("model", "recipe", "batch_size"),
        departs="both sums are relative to those of g; the weights fall linearly; length, labels and tokens as in TextDLG",
    )
    distance: Distance = Elastic()
