"""Defense: a change made by the client or the channel on the way out."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .attack import Attack, Channel, Values
from .batch import Batch
from .card import Card

Memory = MutableMapping[str, Any]
"""What a client keeps between rounds for its defense (error feedback, budgets)."""


@dataclass(frozen=True, kw_only=True)
class Defense:
    """Every hook is the identity until overridden. Subclasses are frozen dataclasses.

    A defense also states its own adversary: `channel` is what somebody who knows it can compute.
    """

    card: ClassVar[Card]

    def on_model(self, model: nn.Module) -> nn.Module:
        """The model that the federation agrees to train instead (known to the server). Never writes to `model`."""
        return model

    def on_batch(self, batch: Batch, *, rng: torch.Generator) -> Batch:
        """The data that the client trains on instead."""
        return batch

    def on_gradients(self, values: Values, *, rng: torch.Generator, memory: Memory) -> dict[str, Tensor]:
        """The values to send instead: a gradient, or a weight delta. Never writes to `values`."""
        return dict(values)

    def on_wire(self, values: Values, *, rng: torch.Generator, memory: Memory) -> dict[str, Tensor]:
        """What the observer reads off the message, after encoding, masking or encryption."""
        return dict(values)

    def wire_bytes(self, values: Values) -> int:
        """Size of the message in bytes, for these sent values."""
        return sum(value.numel() * value.element_size() for value in values.values())

    def epsilon(self, delta: float = 1e-5) -> float | None:
        """Differential-privacy loss of one round, or None where the defense proves none."""
        return None

    def channel(self) -> Channel | None:
        """What an informed attacker computes with, or None where knowing the defense does not help."""
        return None

    def informed(self, attack: Attack) -> Attack | None:
        """The attack of somebody who knows this defense; None if that is the naive attack itself."""
        channel = self.channel()
        return None if channel is None else attack.observing(channel)
