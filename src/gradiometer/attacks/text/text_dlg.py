"""TextDLG: deep leakage from gradients, on sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradiometer.core import Card
from gradiometer.numerics.distances import Distance, SquaredL2

from .matching import TextMatching


@dataclass(frozen=True, kw_only=True)
class TextDLG(TextMatching):
    """min over embeddings e of ||grad L(e, y) - g||^2; each becomes the nearest token.

    References:
        Zhu, Liu, Han, "Deep Leakage from Gradients", 2019, arXiv:1906.08935.
    """

    card: ClassVar[Card] = Card(
        summary="Optimizes embeddings until their gradient is the one that was sent, and takes the nearest tokens.",
        title="Deep Leakage from Gradients",
        authors="Zhu, Liu, Han",
        year=2019,
        arxiv="1906.08935",
        modality="text",
        family="matching",
        formula="min_e ||grad L(e, y) - g||^2 / ||g||^2,  t_p = argmax_t cos(e_p, E[t])",
        needs=("model", "recipe", "batch_size"),
        departs=(
            "Adam instead of L-BFGS, as in later comparisons; the length is read off the place embedding's gradient, labels off the "
            "head's; tokens only among those that the token embedding's gradient reveals, unless vocabulary = all"
        ),
    )
    distance: Distance = SquaredL2()
