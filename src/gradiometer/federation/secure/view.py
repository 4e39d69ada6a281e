"""View: what all clients of a round must have been told alike. Its digest is what they sign."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gradiometer.numerics.circulant import neighborhoods

from .keys import KEY, SIGNATURE, agree, verifies
from .record import Reader, Record, Refused, digest
from .settings import Floors, Settings


def advert_digest(settings: Settings, client: int, channel_key: bytes, mask_key: bytes, commitment: bytes) -> bytes:
    """What a client signs of its keys: they hold for these settings, and so for this round, alone."""
    return digest("advert", settings.digest, client, channel_key, mask_key, commitment)


def nonce_commitment(nonce: bytes) -> bytes:
    return digest("nonce", nonce)


@dataclass(frozen=True, kw_only=True)
class Roster:
    """The clients that advertised keys, in ascending order, and their signed adverts, each field in that order."""

    clients: tuple[int, ...]
    channel_keys: tuple[bytes, ...]
    mask_keys: tuple[bytes, ...]
    commitments: tuple[bytes, ...]
    signatures: tuple[bytes, ...]

    @classmethod
    def read(cls, record: Any, settings: Settings) -> Roster:
        """A roster from the network: of the right size, nobody and no key in it twice."""
        names = ("channel_keys", "mask_keys", "commitments", "signatures")
        reader = Reader(record, "roster", "clients", *names)
        clients = reader.clients()
        if not settings.threshold <= len(clients) <= settings.clients:
            raise Refused(
                f"a roster of {len(clients)} clients, where {settings.threshold} to {settings.clients} were announced"
            )
        sizes = (KEY, KEY, KEY, SIGNATURE)
        fields = {name: reader.pieces(name, len(clients), size) for name, size in zip(names, sizes)}
        roster = cls(clients=clients, **fields)
        if len({*roster.channel_keys, *roster.mask_keys}) < 2 * len(clients):
            raise Refused("a public key stands in the roster twice")
        return roster

    def record(self) -> Record:
        columns = ("channel_keys", "mask_keys", "commitments", "signatures")
        return {
            "kind": "roster",
            "clients": list(self.clients),
            **{name: list(getattr(self, name)) for name in columns},
        }

    @cached_property
    def digest(self) -> bytes:
        return digest("roster", self.clients, self.channel_keys, self.mask_keys, self.commitments)

    def verify(self, settings: Settings, directory: Mapping[int, bytes]) -> None:
        """Raises `Refused` unless every advert carries its client's signature for these settings."""
        for row in zip(self.clients, self.channel_keys, self.mask_keys, self.commitments, self.signatures):
            client, channel_key, mask_key, commitment, signature = row
            message = advert_digest(settings, client, channel_key, mask_key, commitment)
            if client not in directory or not verifies(directory[client], signature, message):
                raise Refused(f"client {client}'s keys are not signed for this round by an identity that is known")

    def place(self, client: int) -> int:
        return self.clients.index(client)


@dataclass(frozen=True, kw_only=True)
class View:
    """Settings, roster, who of it shared secrets, and their opened nonces."""

    settings: Settings
    roster: Roster
    present: tuple[int, ...]
    nonces: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not {*self.present} <= {*self.roster.clients} or len(self.present) < self.settings.threshold:
            raise Refused("clients that shared secrets are not in the roster, or fewer than the threshold")
        for client, nonce in zip(self.present, self.nonces, strict=True):
            if nonce_commitment(nonce) != self.roster.commitments[self.roster.place(client)]:
                raise Refused(f"the nonce of client {client} is not the one it committed to")

    @cached_property
    def digest(self) -> bytes:
        return digest("view", self.settings.digest, self.roster.digest, self.present, self.nonces)

    @cached_property
    def neighbors(self) -> dict[int, frozenset[int]]:
        """Who exchanges masks with whom.

        The order of the circle comes from the nonces of the whole roster, committed before any was opened. If one is
        missing, somebody may have chosen among two orders: then everybody exchanges masks with everybody.
        """
        everybody = len(self.present) < len(self.roster.clients)
        degree = len(self.present) if everybody else self.settings.degree
        return neighborhoods(self.present, degree, self.digest)

    def survivors_digest(self, survivors: Iterable[int]) -> bytes:
        """What a client signs when it has been told who sent a masked vector."""
        return digest("survivors", self.digest, tuple(survivors))

    def check_survivors(self, survivors: tuple[int, ...], floors: Floors) -> None:
        """Raises `Refused` where these survivors' sum must not be opened."""
        if not {*self.present}.issuperset(survivors):
            raise Refused("a survivor never shared its secrets")
        least = max(self.settings.threshold, floors.clients, floors.colluders + 2)
        if len(survivors) < least:
            raise Refused(f"{len(survivors)} survivors, at least {least} wanted")
        alive, wanted = {*survivors}, floors.least_neighbors(self.settings, len(self.present))
        if min(len(self.neighbors[client] & alive) for client in survivors) < wanted:
            raise Refused(f"a survivor keeps fewer than {wanted} neighbors: the sum might fall apart into smaller ones")

    def mask_keys_of(self, client: int, private: bytes, others: Iterable[int]) -> tuple[list[bytes], list[bytes]]:
        """Seeds of the masks that `client` adds and of those that it subtracts, shared with these others."""
        plus: list[bytes] = []
        minus: list[bytes] = []
        for other in sorted(others):
            low, high = sorted((client, other))
            purpose = digest("mask", self.settings.digest, low, high)
            key = agree(private, self.roster.mask_keys[self.roster.place(other)], purpose)
            (plus if client < other else minus).append(key)
        return plus, minus
