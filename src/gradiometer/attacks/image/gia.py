"""GIARunning and GIAEstimate: clients that train with BatchNorm in train mode, attacked through batch statistics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from gradiometer.core import Card
from gradiometer.numerics.priors import BatchStatistics, Prior, TotalVariation

from ..matching import Matching
from ..matching.starts import Start

_card = Card(
    summary="Matches in train mode, with the batch statistics that the client's own buffers betray.",
    title="From Research to Reality: Feasibility of Gradient Inversion Attacks in Federated Learning",
    authors="Valadi, Åkesson, Östman, Fazekas, Listo Zec, Toor",
    year=2025,
    arxiv="2508.19819",
    modality="image",
    family="matching",
    formula="mean* = (r_after - (1-m) r_before) / m;  min_x 1 - cos + a TV(x) + b sum_l ||mean_l - mean*_l|| + ||var_l - var*_l||",
    needs=("model", "recipe", "batch_size", "labels", "buffers"),
    departs=(
        "1,000 iterations, to suit a CPU (authors' code: 3,000 and 10,000); statistics weigh 0.02 (1.6e-4), chosen on "
        "two batches and one untrained ResNet20; several local steps average exactly"
    ),
)


@dataclass(frozen=True, kw_only=True)
class GIARunning(Matching):
    """Exact statistics: the client sends its normalization buffers after a training of known momentum.

    References:
        Valadi et al., "From Research to Reality: Feasibility of Gradient Inversion Attacks in Federated Learning",
        2025, arXiv:2508.19819 (the attack with running statistics).
    """

    card: ClassVar[Card] = _card
    priors: tuple[Prior, ...] = (TotalVariation(weight=0.052), BatchStatistics(weight=0.02, source="exact"))
    start: Start = "randn"


@dataclass(frozen=True, kw_only=True)
class GIAEstimate(Matching):
    """Estimated statistics: the same training simulated on public pictures, for clients that keep their buffers.

    References:
        Valadi et al., 2025, arXiv:2508.19819 (the attack with estimated statistics).
    """

    card: ClassVar[Card] = replace(
        _card,
        summary="Matches in train mode, with batch statistics estimated from public pictures.",
        formula="min_x 1 - cos + a TV(x) + b sum_l ||mean_l - mean_l(public)|| + ||var_l - var_l(public)||",
        needs=("model", "recipe", "batch_size", "labels", "public"),
    )
    priors: tuple[Prior, ...] = (TotalVariation(weight=0.052), BatchStatistics(weight=0.02, source="proxy"))
    start: Start = "randn"
