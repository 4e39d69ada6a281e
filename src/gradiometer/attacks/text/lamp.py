"""LAMP: matching with a prior on language, continuous and discrete steps in turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradiometer.core import Card
from gradiometer.numerics.distances import Distance, Elastic
from gradiometer.numerics.length_prior import EmbeddingLength
from gradiometer.numerics.priors import Prior

from ..matching import Adam, Descent
from ..matching.problem import Problem
from ..matching.trial import Between
from .matching import TextMatching
from .moves import Moves
from .sentences import Sentences


@dataclass(frozen=True, kw_only=True)
class LAMP(TextMatching):
    """TAG's distance and the usual length of embeddings; every so often other orders of the tokens, by gradient and language.

    Args:
        moves: the discrete moves, and the language model that judges them.

    References:
        Balunović, Dimitrov, Jovanović, Vechev, "LAMP: Extracting Text from Gradients with Language Model Priors", 2022,
        arXiv:2202.08827.
    """

    card: ClassVar[Card] = Card(
        summary="Matches text gradients in turns with discrete moves of tokens that a language model judges.",
        title="LAMP: Extracting Text from Gradients with Language Model Priors",
        authors="Balunović, Dimitrov, Jovanović, Vechev",
        year=2022,
        arxiv="2202.08827",
        modality="text",
        family="matching",
        formula="min_e D(grad L(e, y), g) + (mean |e_p| / mean |E[t]| - 1)^2;  orders by log D + weight * -log p(t) / T",
        needs=("model", "recipe", "batch_size"),
        departs=(
            "TAG's distance (the paper's second choice) with labels, length and tokens as in TextDLG; language weighs against the logarithm of "
            "the distance, so that nothing needs scaling; trigrams of public sentences instead of GPT-2; at last tokens are also exchanged"
        ),
    )
    distance: Distance = Elastic()
    priors: tuple[Prior, ...] = (EmbeddingLength(),)
    optimizer: Descent = Adam(lr=0.1, sign="none", schedule="linear")
    restarts: int = 1
    moves: Moves = Moves()

    def _between(self, problem: Problem) -> Between | None:
        assert isinstance(problem, Sentences)
        return self.moves.between(problem)
