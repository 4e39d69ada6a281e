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
from .client import Tensors, WeightsLoss
from .recipe import Recipe
from .submodel import SubModel
from .threat import Threat

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

    def on_download(self, model: nn.Module, *, rng: torch.Generator) -> SubModel | None:
        """The part of the model that one client trains in one round; None: all of it. Never writes to `model`."""
        return None

    def cuts(self) -> bool:
        """Whether clients train parts of the model, drawn by `on_download`."""
        return type(self).on_download is not Defense.on_download

    def on_batch(self, batch: Batch, *, rng: torch.Generator) -> Batch:
        """The data that the client trains on instead."""
        return batch

    def on_step(
        self, loss: WeightsLoss, weights: Tensors, part: Batch, *, rng: torch.Generator, memory: Memory
    ) -> Tensors | None:
        """The gradient of one local step on `part`, made from its single examples; None: the mean gradient."""
        return None

    def on_gradients(self, values: Values, *, rng: torch.Generator, memory: Memory) -> dict[str, Tensor]:
        """The values to send instead: a gradient, or a weight delta. Never writes to `values`."""
        return dict(values)

    def on_wire(self, values: Values, *, rng: torch.Generator, memory: Memory) -> dict[str, Tensor]:
        """What the observer reads off the message, which may be encrypted; the values themselves go into the sum."""
        return dict(values)

    def on_sum(self, values: Values, *, clients: int, rng: torch.Generator) -> dict[str, Tensor]:
        """What a trusted aggregator makes of the sum over `clients` messages before anybody sees it."""
        return dict(values)

    def aggregates(self) -> bool:
        """Whether `on_sum` must be called, on a sum in which all clients weigh the same: its proof is of that sum."""
        return type(self).on_sum is not Defense.on_sum

    def wire_bytes(self, values: Values) -> int:
        """Size of the message in bytes, for these sent values."""
        return sum(value.numel() * value.element_size() for value in values.values())

    def epsilon(
        self,
        delta: float = 1e-5,
        *,
        recipe: Recipe = Recipe(),  # noqa: B008 - a frozen value
        threat: Threat = Threat(),  # noqa: B008 - a frozen value
    ) -> float | None:
        """Differential-privacy loss of what the observer sees, or None where the defense proves none.

        Args:
            delta: in (0, 1).
            recipe: the client's local training, which says how often an example is used in a round.
            threat: `rounds` observed, of messages summed over `clients`.
        """
        return None

    def channel(self) -> Channel | None:
        """What an informed attacker computes with, or None where knowing the defense does not help."""
        return None

    def sum_channel(self, clients: int) -> Channel | None:
        """The same for the sum of `clients` messages, each defended alone; None where nothing is known of that sum."""
        return None

    def informed(self, attack: Attack, *, clients: int = 1) -> Attack | None:
        """The attack of somebody who knows this defense; None if that is the naive attack itself.

        Args:
            clients: over how many the attacked update is a sum.
        """
        simulating = attack.simulating(self)
        if simulating is not None:
            return simulating
        channel = self.channel() if clients == 1 else self.sum_channel(clients)
        return None if channel is None else attack.observing(channel)
