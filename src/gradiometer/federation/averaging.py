"""Averaging: what every way of adding up messages without showing them has in common."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from gradiometer.core import Values


@dataclass(frozen=True, kw_only=True, eq=False)
class Averaged:
    """A mean out of messages that were not shown, and its price.

    Args:
        survivors: whose messages are in it.
        uplink: bytes that all clients sent. seconds: CPU time of all clients and the server.
        clipped: greatest share of one message's entries that were cut to an agreed range.
    """

    mean: dict[str, Tensor]
    survivors: tuple[int, ...]
    uplink: int
    seconds: float
    clipped: float = 0.0


@runtime_checkable
class Averaging(Protocol):
    """What a federation asks of an aggregation."""

    def check(self, clients: int) -> None:
        """Raises `BadConfig` where the settings do not fit so many clients."""
        ...

    def mean(
        self,
        messages: Mapping[int, Values],
        counts: Mapping[int, int],
        *,
        most: int,
        rng: torch.Generator,
        round: int = 0,
        gone: Collection[int] = (),
    ) -> Averaged:
        """The mean of the messages weighted by numbers of examples, of which the server learns at most the total.

        Args:
            messages, counts: of every client, by its number; a count is 1 to `most`.
            gone: further clients, which answer no more after the round has begun.

        Raises:
            Refused: too few clients are left. BadInput: a count out of range.
        """
        ...
