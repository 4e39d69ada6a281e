"""SeeThrough: several starts that must agree, and batch statistics as prior (GradInversion)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradiometer.core import Card
from gradiometer.numerics.distances import Distance, SquaredL2
from gradiometer.numerics.priors import BatchStatistics, GroupConsistency, Norm, Prior, TotalVariation

from ..matching import Adam, Descent, Matching
from ..matching.starts import Start


@dataclass(frozen=True, kw_only=True)
class SeeThrough(Matching):
    """Squared distance + total variation + norm + running batch statistics + agreement of several noisy starts.

    Leave out `BatchStatistics` for models without BatchNorm.

    References:
        Yin, Mallya, Vahdat, Alvarez, Kautz, Molchanov, "See through Gradients: Image Batch Recovery via
        GradInversion", 2021, arXiv:2104.07586.
    """

    card: ClassVar[Card] = Card(
        summary="Matches with a batch-statistics prior and lets several starts agree on one picture (GradInversion).",
        title="See through Gradients: Image Batch Recovery via GradInversion",
        authors="Yin, Mallya, Vahdat, Alvarez, Kautz, Molchanov",
        year=2021,
        arxiv="2104.07586",
        modality="image",
        family="matching",
        formula="min_x ||grad L(x,y) - g||^2/||g||^2 + TV(x) + |x|^2 + BN(x) + ||x - mean_seeds x||^2",
        needs=("model", "recipe", "batch_size", "labels"),
        departs=(
            "1,000 iterations and 4 starts, to suit a CPU (paper: 20,000 and 8); starts are compared pixel by pixel "
            "with their mean, without registration; the distance is relative to ||g||^2"
        ),
    )
    distance: Distance = SquaredL2()
    priors: tuple[Prior, ...] = (
        TotalVariation(weight=1e-4),
        Norm(weight=1e-6),
        BatchStatistics(weight=1e-3, source="running"),
        GroupConsistency(weight=0.01),
    )
    optimizer: Descent = Adam(sign="none", schedule="cosine", warmup=50, langevin=0.01)
    start: Start = "randn"
    restarts: int = 4
