"""InvertingGradients: direction instead of length, signs instead of slopes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradiometer.core import Card

from ..matching import Matching


@dataclass(frozen=True, kw_only=True)
class InvertingGradients(Matching):
    """min over x of 1 - cos(grad L(x, y), g) + 1e-4 TV(x), by Adam on the sign of the gradient, within the pixel box.

    References:
        Geiping, Bauermeister, Dröge, Moeller, "Inverting Gradients - How easy is it to break privacy in federated
        learning?", 2020, arXiv:2003.14053.
    """

    card: ClassVar[Card] = Card(
        summary="Matches the direction of the gradient by signed Adam, with total variation as prior.",
        title="Inverting Gradients - How easy is it to break privacy in federated learning?",
        authors="Geiping, Bauermeister, Dröge, Moeller",
        year=2020,
        arxiv="2003.14053",
        modality="image",
        family="matching",
        formula="min_x 1 - cos(grad L(x,y), g) + 1e-4 TV(x)",
        needs=("model", "recipe", "batch_size", "labels"),
        departs=(
            "1,000 iterations and one start, to suit a CPU (paper: 24,000); total variation weighs 1e-4, the start is "
            "gray and the steps fall as a cosine (public code: 0.2, noise, tenfold drops): on untrained CIFAR networks "
            "0.2 outweighs the distance, and a plain gray picture has a lower objective than what the attack finds"
        ),
    )
