"""GuidedDiffusion: a picture grows out of noise, and at every step what is seen in it is pulled toward the update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradiometer.core import Attack, Card
from gradiometer.numerics.distances import Distance
from gradiometer.numerics.estimated_distance import EstimatedTransform
from gradiometer.numerics.priors import Prior

from ..inference import RowSum
from ..matching import Diffused, Matching, Unknown


@dataclass(frozen=True, kw_only=True)
class GuidedDiffusion(Matching):
    """x_s <- x_s - pull s Adam(d/dx_s D(grad L(x_0(x_s), y), g)) at every level of noise s, between the steps of DDIM.

    x_0(x_s) is the picture that a diffusion model sees behind the noise. Of all levels the picture with the least distance is returned.
    Levels have optimizers of their own: their steps are set in `unknown`, and `optimizer` has no meaning.

    References:
        Meng, Huang, Chen, Hou, Zheng, "Enhanced Privacy Leakage from Noise-Perturbed Gradients via Gradient-Guided Conditional
    Diffusion Models", 2025, arXiv:2511.10423.
        Chung, Kim, McCann, Klasky, Ye, "Diffusion Posterior Sampling for General Noisy Inverse Problems", 2022, arXiv:2209.14687.
    """

    card: ClassVar[Card] = Card(
        summary="Samples from a diffusion model whose every step is guided by the gradient of the matching distance.",
        title="Enhanced Privacy Leakage from Noise-Perturbed Gradients via Gradient-Guided Conditional Diffusion Models",
        authors="Meng, Huang, Chen, Hou, Zheng",
        year=2025,
        arxiv="2511.10423",
        modality="image",
        family="generative",
        formula="x_s <- x_s - a d/dx_s D(grad L(x_0(x_s),y), g), level by level",
        needs=("model", "recipe", "batch_size", "public"),
        departs=(
            "a small model, and Adam's steps in place of one step of fixed size: several evaluations at each of a few levels; the distance is "
            "relative, and reads clipping and pruning off the update"
        ),
    )
    distance: Distance = EstimatedTransform()
    priors: tuple[Prior, ...] = ()
    unknown: Unknown | None = Diffused()
    iterations: int = 500
    labels: Attack | None = RowSum()
