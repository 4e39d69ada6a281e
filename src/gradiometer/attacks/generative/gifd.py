"""GIFD: the latent vector first, then what lies between the generator's blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradiometer.core import Attack, Card
from gradiometer.numerics.distances import Distance
from gradiometer.numerics.estimated_distance import EstimatedTransform
from gradiometer.numerics.priors import LatentNormal, Prior, TotalVariation

from ..inference import RowSum
from ..matching import Adam, Descent, Features, Matching, Unknown


@dataclass(frozen=True, kw_only=True)
class GIFD(Matching):
    """min over z, then over h_1, h_2, ... within |h_l - block_l(h_(l-1))|_1 <= r_l; of all stages the picture with the least distance.

    References:
        Fang, Chen, Wang, Wang, Xia, "GIFD: A Generative Gradient Inversion Method with Feature Domain Optimization", 2023,
        arXiv:2308.04699.
    """

    card: ClassVar[Card] = Card(
        summary="Searches a generator's latent space, then its features block by block within L1 balls; keeps the best stage.",
        title="GIFD: A Generative Gradient Inversion Method with Feature Domain Optimization",
        authors="Fang, Chen, Wang, Wang, Xia",
        year=2023,
        arxiv="2308.04699",
        modality="image",
        family="generative",
        formula="min_z, then min_h D(grad L(G_l(h),y), g) + 1e-4 TV, |h - h_0|_1 <= r",
        needs=("model", "recipe", "batch_size", "public"),
        departs=(
            "the generator is small: z and two blocks share 1,000 evaluations (code: BigGAN, 1,000 for each of 13 blocks); radii are a share "
            "of the features' own norm (code: 1,000 to 7,500)"
        ),
    )
    distance: Distance = EstimatedTransform()
    priors: tuple[Prior, ...] = (LatentNormal(), TotalVariation(weight=1e-4))
    optimizer: Descent = Adam(lr=0.1, sign="none", schedule="ramp")
    unknown: Unknown | None = Features()
    labels: Attack | None = RowSum()
