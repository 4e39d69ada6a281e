"""ROG: a small picture that explains the update, and a network that has learned what it lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradiometer.core import Attack, Card
from gradiometer.numerics.distances import SquaredL2

from ..inference import RowSum
from ..learned import Denoised
from ..matching import Adam, LowResolution, Matching


@dataclass(frozen=True, kw_only=True)
class ROG(Denoised):
    """x = u(up(z)), z = argmin |update(up(z), y) - sent|^2, u learned from rounds that are played with public pictures.

    A weight delta is matched whole, by the client's local steps unrolled. Behind a defense that loses entries the small picture is what
    is left to be told, and u has seen what that defense does to it if the attacker knows it (`Defense.informed`).

    Args:
        attack, examples, steps, rate, batch, seed, defense: as of `Denoised`; the search is the settings of `attack`.

    References:
        Yue, Jin, Wong, Baron, Dai, "Gradient Obfuscation Gives a False Sense of Security in Federated Learning", 2022, arXiv:2206.04055.
    """

    card: ClassVar[Card] = Card(
        summary="Searches for a small picture that is enlarged for the model, and lets a learned network restore what it lacks.",
        title="Gradient Obfuscation Gives a False Sense of Security in Federated Learning",
        authors="Yue, Jin, Wong, Baron, Dai",
        year=2022,
        arxiv="2206.04055",
        modality="image",
        family="generative",
        formula="x = u(up(z)), z = argmin |update(up(z),y) - sent|^2",
        needs=("model", "loss", "recipe", "batch_size", "public"),
        departs=(
            "sides are halved (code: a quarter, of 128 pixels); the network is a small U-Net, trained on this very search's guesses of "
            "public pictures (code: a generator, a denoiser or a super-resolution network, trained once)"
        ),
    )
    attack: Attack = Matching(
        distance=SquaredL2(),
        priors=(),
        optimizer=Adam(lr=0.05, sign="none"),
        unknown=LowResolution(),
        iterations=100,
        labels=RowSum(),
    )
    examples: int = 100
