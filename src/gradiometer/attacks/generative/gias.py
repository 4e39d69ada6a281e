"""GIAS: the latent vector first, then a generator of this picture's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradiometer.core import Attack, Card
from gradiometer.numerics.distances import Distance
from gradiometer.numerics.estimated_distance import EstimatedTransform
from gradiometer.numerics.priors import LatentNormal, Prior, TotalVariation

from ..inference import RowSum
from ..matching import Adam, Descent, LatentThenWeights, Matching, Unknown


@dataclass(frozen=True, kw_only=True)
class GIAS(Matching):
    """min over z, then with that z over w, of D(grad L(G_w(z), y), g) + 1e-4 TV.

    References:
        Jeon, Kim, Lee, Oh, Ok, "Gradient Inversion with Generative Image Prior", 2021, arXiv:2110.14962.
    """

    card: ClassVar[Card] = Card(
        summary="Searches a generator's latent space, then the generator's own weights, which leaves the prior's range.",
        title="Gradient Inversion with Generative Image Prior",
        authors="Jeon, Kim, Lee, Oh, Ok",
        year=2021,
        arxiv="2110.14962",
        modality="image",
        family="generative",
        formula="min_z, then min_w D(grad L(G_w(z),y), g) + 1e-4 TV",
        needs=("model", "recipe", "batch_size", "public"),
        departs=(
            "the generator is small, and both parts share 1,000 evaluations (code: up to 1,000 and 8,000); instead of the largest entries "
            "alone, entries are left out only where the update shows that some were dropped"
        ),
    )
    distance: Distance = EstimatedTransform()
    priors: tuple[Prior, ...] = (LatentNormal(), TotalVariation(weight=1e-4))
    optimizer: Descent = Adam(lr=0.1, sign="none", schedule="ramp")
    unknown: Unknown | None = LatentThenWeights()
    labels: Attack | None = RowSum()
