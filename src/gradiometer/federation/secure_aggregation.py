"""SecureAggregation: the observer of a round sees the sum over all clients, and no client's own message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from gradiometer.core import Card, Values

from .secure.local import secure_sum
from .secure.settings import Floors, Settings
from .secure.weighing import weigh, weighted_mean
from .vectors import flat, named


@dataclass(frozen=True, kw_only=True)
class SecureAggregation:
    """Adds up what clients send, entry by entry, under masks that cancel in the sum alone.

    It is no `Defense`: one client's message is not what it changes, and nothing is left of it for a client alone (the sum
    over one client is its update). Hand it to `play_sum` or `federate`, which have several. The observer still has the
    sum, exact to the fixed point, and how many clients are in it: who sent what is hidden, not what was sent.

    Args:
        clip, bits: every entry is clipped to [-clip, clip] and sent with `bits` bits, in the unit of the message.
        threshold: clients that must stay until the end; None: two thirds of them, rounded up.
        degree: with how many others each exchanges masks; None: with all.
    """

    card: ClassVar[Card] = Card(
        summary="Shows the server the sum over clients alone: hides who sent what, not what was sent.",
        title="Secure Single-Server Aggregation with (Poly)Logarithmic Overhead",
        authors="Bell, Bonawitz, Gascon, Lepoint, Raykova",
        year=2020,
        family="cryptographic",
        formula="y_u = x_u + PRG(b_u) + sum_{v > u} PRG(s_uv) - sum_{v < u} PRG(s_uv) mod 2^(8w)",
        strength="number of clients in the sum",
        departs="shares go to all clients, not to neighbors alone, and survivors sign one list as in Bonawitz et al. (2017): "
        "the threshold then counts colluders in the whole cohort",
    )
    clip: float = 1.0
    bits: int = 16
    threshold: int | None = None
    degree: int | None = None

    def settings(self, *, round: int, clients: int, length: int) -> Settings:
        """Of one round."""
        return Settings.of(
            round=round,
            clients=clients,
            length=length,
            threshold=self.threshold,
            degree=self.degree,
            clip=self.clip,
            bits=self.bits,
        )

    def sum(self, messages: Sequence[Values], *, rng: torch.Generator, round: int = 0) -> tuple[dict[str, Tensor], int]:
        """What the server learns of these messages, one a client, and the bytes that all clients sent.

        Raises:
            BadConfig: fewer than two clients, or settings that do not fit their number.
            Unsupported: the package `cryptography` is missing.
        """
        total, sent = self._added([flat(one, messages[0]) for one in messages], rng, round)
        return named(total, messages[0]), sent

    def mean(
        self, messages: Sequence[Values], counts: Sequence[int], *, most: int, rng: torch.Generator, round: int = 0
    ) -> tuple[dict[str, Tensor], int]:
        """The mean of the messages weighted by numbers of examples, of which the server learns the total alone.

        Args:
            counts: of every client, 1 to `most`.

        Raises:
            As `sum`; BadInput: a count out of range.
        """
        vectors = [
            weigh(flat(one, messages[0]), count, most=most, clip=self.clip)
            for one, count in zip(messages, counts, strict=True)
        ]
        total, sent = self._added(vectors, rng, round)
        return named(weighted_mean(total, clip=self.clip), messages[0]), sent

    def _added(self, vectors: Sequence[Tensor], rng: torch.Generator, round: int) -> tuple[Tensor, int]:
        settings = self.settings(round=round, clients=len(vectors), length=len(vectors[0]))
        floors = replace(ANY, most=settings.length)
        done = secure_sum(dict(enumerate(vectors)), settings, rng=rng, floors=floors)
        return done.total.values, done.uplink


ANY = Floors(clients=2, degree=1, clips=(0.0, float("inf")), bits=2)
"""In a simulation the one who sets the rules also plays every client."""
