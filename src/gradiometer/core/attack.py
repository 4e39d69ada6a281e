"""Attack: how the observer reads an update."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from .card import Card
from .guess import Guess
from .update import Update

Values = Mapping[str, Tensor]


@runtime_checkable
class Channel(Protocol):
    """What an informed attacker knows of a defense: how likely a raw update is, given the sent one.

    Values are update values by parameter name. A channel is fitted to the sent values by the attack.
    """

    def distance(self, simulated: Values, sent: Values) -> Tensor:
        """Scalar, differentiable in `simulated`: negative log-likelihood up to constants, 0 is a perfect match.

        Its scale is the attack's to fix; it must be of order 1 for an unrelated simulation.
        """
        ...

    def variance(self, sent: Values) -> dict[str, Tensor]:
        """Expected squared error of every sent entry (same shapes); infinite where the entry tells nothing."""
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

    def probe(self, update: Update, rng: torch.Generator, starts: int = 4) -> list[float] | None:
        """The objective at random unknowns, to check that it depends on them; None for closed forms."""
        return None
