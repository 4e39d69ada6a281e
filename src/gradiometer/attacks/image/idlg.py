"""IDLG: DLG with the label read off first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradiometer.core import Attack, Card
from gradiometer.numerics.distances import Distance, SquaredL2
from gradiometer.numerics.priors import Prior

from ..inference import IDLGLabels
from ..matching import LBFGS, Descent, Matching
from ..matching.starts import Start


@dataclass(frozen=True, kw_only=True)
class IDLG(Matching):
    """min over x of ||grad L(x, y) - g||^2 by L-BFGS, y being read off the head's gradient.

    References:
        Zhao, Mopuri, Bilen, "iDLG: Improved Deep Leakage from Gradients", 2020, arXiv:2001.02610.
    """

    card: ClassVar[Card] = Card(
        summary="Reads the label off the sign of the head's gradient, then optimizes the picture as DLG does.",
        title="iDLG: Improved Deep Leakage from Gradients",
        authors="Zhao, Mopuri, Bilen",
        year=2020,
        arxiv="2001.02610",
        modality="image",
        family="matching",
        formula="y = the c whose row of dW points against all others;  min_x ||grad L(x,y) - g||^2 / ||g||^2",
        needs=("model", "recipe", "batch_size"),
        departs="starts from gray, searches steps by the strong Wolfe conditions and takes 1,400 evaluations, as DLG here",
    )
    distance: Distance = SquaredL2()
    priors: tuple[Prior, ...] = ()
    optimizer: Descent = LBFGS()
    start: Start = "gray"
    boxed: bool = False
    iterations: int = 1400
    labels: Attack | None = IDLGLabels()
