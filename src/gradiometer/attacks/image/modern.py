"""Modern: the settings that later work found to do better than those of Inverting Gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradiometer.core import Card
from gradiometer.numerics.priors import HeadFeatures, Prior, TotalVariation

from ..matching import Adam, Descent, Matching
from ..matching.starts import Start


@dataclass(frozen=True, kw_only=True)
class Modern(Matching):
    """Cosine distance, a repeated tile as start, soft signs, a cosine schedule, color edges and the head's features.

    References:
        Geiping et al., the library `breaching`, configuration `modern`, 2022.
        Wei et al., "A Framework for Evaluating Gradient Leakage Attacks in Federated Learning", 2020,
        arXiv:2004.10397 (patterned starts).
    """

    card: ClassVar[Card] = Card(
        summary="Inverting Gradients with a patterned start, soft signs, color-aware total variation and head features.",
        title="breaching, configuration modern",
        authors="Geiping, Fowl, and others",
        year=2022,
        modality="image",
        family="matching",
        formula="min_x 1 - cos(grad L(x,y), g) + 0.1 TV2(x) + 0.1 mean (h - dW_y/db_y)^2",
        needs=("model", "recipe", "batch_size", "labels"),
        departs="1,000 iterations, to suit a CPU (the configuration: 24,000)",
    )
    priors: tuple[Prior, ...] = (
        TotalVariation(weight=0.1, inner=2.0, outer=0.5, double_opponents=True),
        HeadFeatures(weight=0.1),
    )
    optimizer: Descent = Adam(sign="soft", schedule="cosine", warmup=50)
    start: Start = "patterned"
