"""Settings: what the server proposes for one round; and Floors: what a client insists on, whoever proposes."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from gradiometer.core import BadConfig
from gradiometer.numerics.circulant import most_colluding_neighbors
from gradiometer.numerics.fixed_point import FixedPoint

from .record import LARGEST, Reader, Record, Refused, digest
from .words import word_bytes

MOST_CLIENTS, MOST_ENTRIES = 2**16, 2**32


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One round of secure aggregation, as the server announces it to everybody.

    Args:
        round: its number; a client takes part in ascending rounds only.
        clients: how many are invited, 2 to 65,536. The modulus is sized for the sum of all of them.
        threshold: shares that give a secret, and clients that must be there in every stage.
        degree: with how many others a client exchanges masks, even; `clients - 1` or more: with everybody.
        length: entries of the vectors to be added.
        clip, bits: of the fixed-point numbers; see `FixedPoint`.
        context: 32 bytes, a hash of what all clients must be told alike: the global model, above all.

    Raises:
        BadConfig: listing every fault.
    """

    round: int
    clients: int
    threshold: int
    degree: int
    length: int
    clip: float = 1.0
    bits: int = 16
    context: bytes = bytes(32)

    def __post_init__(self) -> None:
        problems = [
            f"{name} must lie between {low} and {high}, got {value}"
            for name, value, low, high in [
                ("round", self.round, 0, LARGEST),
                ("clients", self.clients, 2, MOST_CLIENTS),
                ("threshold", self.threshold, 2, self.clients),
                ("degree", self.degree, 2 if self.clients > 2 else 1, MOST_CLIENTS),
                ("length", self.length, 1, MOST_ENTRIES),
                ("bits", self.bits, 2, 32),
            ]
            if not low <= value <= high
        ]
        if not (math.isfinite(self.clip) and self.clip > 0):
            problems.append(f"clip must be positive and finite, got {self.clip}")
        if len(self.context) != 32:
            problems.append(f"context must have 32 bytes, got {len(self.context)}")
        if self.degree % 2 and self.degree < self.clients - 1:
            problems.append(f"degree must be even where it is less than clients - 1, got {self.degree}")
        if problems:
            raise BadConfig("this round of secure aggregation cannot be played", problems=problems)

    @classmethod
    def of(
        cls,
        *,
        round: int,
        clients: int,
        length: int,
        threshold: int | None = None,
        degree: int | None = None,
        clip: float = 1.0,
        bits: int = 16,
        context: bytes = bytes(32),
    ) -> Settings:
        """Settings with the usual threshold, two thirds of the clients (rounded up), and masks between everybody."""
        return cls(
            round=round,
            clients=clients,
            threshold=-(-2 * clients // 3) if threshold is None else threshold,
            degree=clients - 1 if degree is None else degree,
            length=length,
            clip=float(clip),
            bits=bits,
            context=context,
        )

    @property
    def fixed_point(self) -> FixedPoint:
        return FixedPoint(clip=self.clip, bits=self.bits)

    @property
    def word_bytes(self) -> int:
        """Bytes of an entry on the wire."""
        return word_bytes(self.clients * self.fixed_point.levels)

    @cached_property
    def digest(self) -> bytes:
        return digest("settings", *asdict(self).values())

    def record(self) -> Record:
        return {"kind": "invitation", **asdict(self)}

    @classmethod
    def read(cls, record: Any) -> Settings:
        """Settings from the network.

        Raises:
            Refused: they are malformed or out of range.
        """
        names = ("round", "clients", "threshold", "degree", "length", "bits")
        reader = Reader(record, "invitation", *names, "clip", "context")
        integers = {name: reader.integer(name) for name in names}
        try:
            return cls(clip=reader.number("clip"), context=reader.octets("context", 32), **integers)
        except BadConfig as error:
            raise Refused(str(error)) from error


@dataclass(frozen=True, kw_only=True)
class Floors:
    """What a client insists on before it sends anything that depends on its data.

    Args:
        clients: least number of clients in a sum. Of a sum of two, either one learns the other's.
        colluders: how many other clients may work for a server that breaks the rules: threshold > colluders and
            2 threshold > clients + colluders. (A server that keeps to the rules needs `threshold` colluders.)
        degree: least number of others to exchange masks with, where there are as many.
        clips: least and greatest range of values; bits: least width of a value.
        most: entries of a vector, against exhausting the client.
    """

    clients: int = 3
    colluders: int = 0
    degree: int = 32
    clips: tuple[float, float] = (1e-6, 1e6)
    bits: int = 4
    most: int = 2**30

    def check(self, settings: Settings) -> None:
        """Raises `Refused`, listing every floor that the settings are below."""
        low, high = self.clips
        neighbors = min(settings.degree, settings.clients - 1)
        problems = {
            f"{settings.clients} clients, at least {self.clients} wanted": settings.clients < self.clients,
            f"threshold {settings.threshold} with {settings.clients} clients does not resist {self.colluders} "
            "colluders": settings.threshold <= self.colluders
            or 2 * settings.threshold <= settings.clients + self.colluders,
            f"degree {settings.degree}, at least {self.degree} wanted": neighbors
            < min(self.degree, settings.clients - 1),
            f"clip {settings.clip:g} outside {low:g} to {high:g}": not low <= settings.clip <= high,
            f"{settings.bits} bits, at least {self.bits} wanted": settings.bits < self.bits,
            f"{settings.length} entries, at most {self.most} accepted": settings.length > self.most,
        }
        broken = [problem for problem, holds in problems.items() if holds]
        if broken:
            raise Refused(f"the server's settings are below this client's floors: {'; '.join(broken)}")

    def least_neighbors(self, settings: Settings, members: int) -> int:
        """How many of its neighbors every survivor must keep, so that the honest ones hang together."""
        if settings.degree >= members - 1:
            return 1
        colluding = most_colluding_neighbors(members, self.colluders, settings.degree)
        return settings.degree // 2 + 1 + colluding
