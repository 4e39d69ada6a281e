"""SecureAggregation: the observer of a round sees the sum over all clients, and no client's own message."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from gradiometer.core import Card, Channel, Values
from gradiometer.numerics.channels import Additive
from gradiometer.numerics.fixed_point import FixedPoint

from .averaging import Averaged
from .secure.local import Round, secure_sum
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

    def sum_channel(self, clients: int) -> Channel:
        """What an informed attacker knows of the sum: rounding at random to the fixed point, by every client."""
        return Additive(std=FixedPoint(clip=self.clip, bits=self.bits).step * math.sqrt(clients / 6))

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

    def check(self, clients: int) -> None:
        """Raises `BadConfig` where the settings do not fit so many clients."""
        self.settings(round=0, clients=clients, length=1)

    def sum(self, messages: Sequence[Values], *, rng: torch.Generator, round: int = 0) -> tuple[dict[str, Tensor], int]:
        """What the server learns of these messages, one a client, and the bytes that all clients sent.

        Raises:
            BadConfig: fewer than two clients, or settings that do not fit their number.
            Unsupported: the package `cryptography` is missing.
        """
        done = self._added({i: flat(one, messages[0]) for i, one in enumerate(messages)}, rng, round)
        return named(done.total.values, messages[0]), done.uplink

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
        """The mean of the messages weighted by numbers of examples, of which the server learns the total alone.

        Args:
            messages, counts: of every client, by its number; a count is 1 to `most`.
            gone: further clients, which answer no more after they shared their secrets.

        Raises:
            As `sum`; Refused: too few clients are left. BadInput: a count out of range.
        """
        like: Values = next(iter(messages.values()), {})
        vectors = {
            client: weigh(flat(one, like), counts[client], most=most, clip=self.clip)
            for client, one in messages.items()
        }
        done = self._added(vectors, rng, round, gone)
        return Averaged(
            mean=named(weighted_mean(done.total.values, clip=self.clip), like),
            survivors=done.total.survivors,
            uplink=done.uplink,
            seconds=done.client_seconds + done.server_seconds,
            clipped=max(self._clipped(one) for one in messages.values()),
        )

    def _clipped(self, message: Values) -> float:
        beyond = sum(int((value.abs() > self.clip).sum()) for value in message.values())
        return beyond / sum(value.numel() for value in message.values())

    def _added(
        self, vectors: Mapping[int, Tensor], rng: torch.Generator, round: int, gone: Collection[int] = ()
    ) -> Round:
        length = len(next(iter(vectors.values()), ()))
        settings = self.settings(round=round, clients=len(vectors) + len(gone), length=max(1, length))
        floors = replace(ANY, most=settings.length)
        # Whoever is gone never comes to its vector.
        everybody = {**dict.fromkeys(gone, torch.empty(0)), **vectors}
        return secure_sum(everybody, settings, rng=rng, floors=floors, silent={"mask": gone})


ANY = Floors(clients=2, degree=1, clips=(0.0, float("inf")), bits=2)
"""In a simulation the one who sets the rules also plays every client."""
