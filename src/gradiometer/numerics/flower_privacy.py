"""What a configuration of Flower's local-privacy mod spends over a whole training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gradiometer.core import BadConfig

from .accounting import gaussian_epsilon


@dataclass(frozen=True, kw_only=True)
class LocalPrivacy:
    """Figures of a local Gaussian mechanism.

    Args:
        noise: standard deviation of the noise on every weight.
        one_round: epsilon of one message.
        composed: epsilon of all messages of one client.
        delta: that of both.
    """

    noise: float
    one_round: float
    composed: float
    delta: float


def flower_local_privacy(
    *, clipping_norm: float, sensitivity: float, epsilon: float, delta: float, rounds: int
) -> LocalPrivacy:
    """The epsilon that Flower's `LocalDpMod` really gives a client that takes part in `rounds` rounds.

    The mod adds noise of std = sensitivity sqrt(2 ln(1.25 / delta)) / epsilon to the clipped update in every round. Its
    `epsilon` is that of a single round, proven for values below 1 and for a sensitivity that the user states. Any
    clipped update may stand in place of any other, so that the true sensitivity is 2 `clipping_norm`; T rounds are one
    Gaussian mechanism of ratio sqrt(T) 2 C / std. One delta holds for all rounds together.

    Args:
        clipping_norm, sensitivity, epsilon, delta: the mod's arguments.
        rounds: in which the client takes part, >= 1.

    Raises:
        BadConfig: an argument out of its range.

    References:
        Flower, `flwr/client/mod/localdp_mod.py`. Dwork, Roth, "The Algorithmic Foundations of Differential Privacy",
        2014, theorem A.1 (the mod's formula).
    """
    given = {"clipping_norm": clipping_norm, "sensitivity": sensitivity, "epsilon": epsilon, "rounds": rounds}
    problems = [f"{name} must be positive, got {value}" for name, value in given.items() if not value > 0]
    problems += [] if 0 < delta < 1 else [f"delta must lie in (0, 1), got {delta}"]
    if problems:
        raise BadConfig("LocalDpMod with these settings proves nothing", problems=problems)
    noise = sensitivity * math.sqrt(2 * math.log(1.25 / delta)) / epsilon
    ratio = 2 * clipping_norm / noise
    return LocalPrivacy(
        noise=noise,
        one_round=gaussian_epsilon(ratio, delta),
        composed=gaussian_epsilon(math.sqrt(rounds) * ratio, delta),
        delta=delta,
    )
