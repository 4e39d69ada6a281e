"""CI-Net: a decoder that nobody trained, fitted to one update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradiometer.core import Attack, Card
from gradiometer.numerics.distances import Cosine, Distance
from gradiometer.numerics.priors import Prior

from ..inference import RowSum
from ..matching import Adam, Descent, Matching, Unknown, Untrained


@dataclass(frozen=True, kw_only=True)
class CINet(Matching):
    """min over w of 1 - cos(grad L(G_w(z), y), g), with z fixed noise: convolutions show smooth pictures first. No public data.

    Models with ReLU or max pooling are refused: the search is known to fail on them (`unknown = { kinked = true }` tries it).

    References:
        Zhang, Zhang, Sotthiwat, Xu, Liu, Zhen, Liu, "Generative Gradient Inversion via Over-Parameterized Networks in Federated
    Learning", ICCV 2023.
        Ulyanov, Vedaldi, Lempitsky, "Deep Image Prior", 2017, arXiv:1711.10925.
        Guo et al., "Exploring the Vulnerabilities of Federated Learning: A Deep Dive into Gradient Inversion Attacks", 2025,
        arXiv:2503.11514 (works on sigmoid networks only).
    """

    card: ClassVar[Card] = Card(
        summary="Fits the weights of an untrained decoder to the update: a prior without any data, for smooth networks.",
        title="Generative Gradient Inversion via Over-Parameterized Networks in Federated Learning",
        authors="Zhang, Zhang, Sotthiwat, Xu, Liu, Zhen, Liu",
        year=2023,
        modality="image",
        family="generative",
        formula="min_w 1 - cos(grad L(G_w(z),y), g)",
        needs=("model", "recipe", "batch_size"),
        departs="1,000 evaluations and a smaller decoder, to suit a CPU (code: 2,000); the model keeps its own activations, and ReLU is refused",
    )
    distance: Distance = Cosine()
    priors: tuple[Prior, ...] = ()
    optimizer: Descent = Adam(lr=1e-3, sign="none", schedule="ramp")
    unknown: Unknown | None = Untrained()
    labels: Attack | None = RowSum()
