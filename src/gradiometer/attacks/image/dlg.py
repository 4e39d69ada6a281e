"""DLG: deep leakage from gradients, pictures and labels optimized together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradiometer.core import Card
from gradiometer.numerics.distances import Distance, SquaredL2
from gradiometer.numerics.priors import Prior

from ..matching import LBFGS, Descent, Matching
from ..matching.starts import Start


@dataclass(frozen=True, kw_only=True)
class DLG(Matching):
    """min over x and p of ||grad L(x, softmax(p)) - g||^2 by L-BFGS. For smooth networks and small batches.

    References:
        Zhu, Liu, Han, "Deep Leakage from Gradients", 2019, arXiv:1906.08935.
    """

    card: ClassVar[Card] = Card(
        summary="Optimizes pictures and label probabilities together until their gradient is the one that was sent.",
        title="Deep Leakage from Gradients",
        authors="Zhu, Liu, Han",
        year=2019,
        arxiv="1906.08935",
        modality="image",
        family="matching",
        formula="min_{x,p} ||grad L(x, softmax(p)) - g||^2 / ||g||^2",
        needs=("model", "recipe", "batch_size"),
        departs=(
            "starts from gray instead of noise, L-BFGS searches its steps by the strong Wolfe conditions and may take "
            "1,400 evaluations (300 iterations in the paper), the distance is relative to ||g||^2: with the paper's "
            "settings most starts diverge; granted labels are used instead of optimized"
        ),
    )
    distance: Distance = SquaredL2()
    priors: tuple[Prior, ...] = ()
    optimizer: Descent = LBFGS()
    start: Start = "gray"
    boxed: bool = False
    iterations: int = 1400
    joint_labels: bool = True
