"""GGL: the latent vector whose picture would have caused the update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradiometer.core import Attack, Card
from gradiometer.numerics.distances import Distance
from gradiometer.numerics.estimated_distance import EstimatedTransform
from gradiometer.numerics.priors import LatentNormal, Prior

from ..inference import RowSum
from ..matching import Adam, Descent, Latent, Matching, Unknown


@dataclass(frozen=True, kw_only=True)
class GGL(Matching):
    """min over z of |T(grad L(G(z), y)) - g|^2 / |g|^2 + KL(z), T estimated from g, y from its last layer.

    Read it over the same search on noise: the label and the generator alone make plausible pictures. Which pictures the
    generator can show at all is `metrics.baselines.oracle_inversion`.

    References:
        Li, Zhang, Liu, Liu, "Auditing Privacy Defenses in Federated Learning via Generative Gradient Leakage", 2022,
        arXiv:2203.15696.
    """

    card: ClassVar[Card] = Card(
        summary="Searches a generator's latent space for the picture that explains the update; reads clipping and pruning off it.",
        title="Auditing Privacy Defenses in Federated Learning via Generative Gradient Leakage",
        authors="Li, Zhang, Liu, Liu",
        year=2022,
        arxiv="2203.15696",
        modality="image",
        family="generative",
        formula="min_z |T(grad L(G(z),y)) - g|^2 / |g|^2 + KL(z)",
        needs=("model", "recipe", "batch_size", "public"),
        departs=(
            "the generator is small (paper: BigGAN, WGAN-GP); 1,000 evaluations a start and two starts that are halved (code: 2,500, one); "
            "the distance is relative, and the weight of KL fits it; no fresh noise is added to the trial; several examples have a z each"
        ),
    )
    distance: Distance = EstimatedTransform()
    priors: tuple[Prior, ...] = (LatentNormal(),)
    optimizer: Descent = Adam(lr=0.1, sign="none", schedule="ramp")
    unknown: Unknown | None = Latent()
    labels: Attack | None = RowSum()
