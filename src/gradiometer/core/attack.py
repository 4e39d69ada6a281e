"""Attack: how the observer reads an update."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from .card import Card
from .guess import Guess
from .update import Update

if TYPE_CHECKING:
    from .defense import Defense

Values = Mapping[str, Tensor]


@runtime_checkable
class Channel(Protocol):
    """What an informed attacker knows of a defense: how likely a raw update is, given the sent one.

    Values are update values by parameter name, in the units in which they were sent. What a channel must know of one
    message (scales, steps, thresholds) it reads off the sent values.
    """

    def distance(self, simulated: Values, sent: Values) -> Tensor:
        """Scalar, differentiable in `simulated` (raw values): a negative log-likelihood up to constants and scale.

        Least for the best match, and of order 1 for an unrelated simulation.
        """
        ...

    def decode(self, sent: Values) -> dict[str, Tensor]:
        """The best estimate of every raw entry (same shapes), where `sent` itself is not: offsets removed."""
        ...

    def variance(self, sent: Values) -> dict[str, Tensor]:
        """Expected squared error of every decoded entry (same shapes); infinite where the entry tells nothing."""
        ...

    def forward(self, simulated: Values) -> dict[str, Tensor]:
        """What the defense makes of raw values on average, differentiable: for channels that stand behind it."""
        ...


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """Reads an update. Subclasses are frozen dataclasses whose fields are the hyper-parameters."""

    card: ClassVar[Card]

    @abstractmethod
    def run(self, update: Update, rng: torch.Generator) -> Guess:
        """What this attack makes of the update. Writes to nothing that it was handed.

        Raises:
            MissingKnowledge: it needs a field that the threat does not grant.
            NotApplicable: the model or the update is not of the kind that it can read.
        """

    def tamper(self, model: nn.Module) -> nn.Module:
        """The model that an active server sends instead. Passive attacks send the honest one."""
        return model

    def observing(self, channel: Channel) -> Attack | None:
        """This attack for somebody who knows the defense's channel; None where it has no use for that knowledge."""
        return None

    def simulating(self, defense: Defense) -> Attack | None:
        """This attack for somebody who plays rounds behind the defense itself, to learn from; None where it plays none."""
        return None

    def probe(self, update: Update, rng: torch.Generator, starts: int = 4) -> list[float] | None:
        """The objective at random unknowns, to check that it depends on them; None for closed forms."""
        return None
