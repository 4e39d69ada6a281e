"""SecureServer: the server's side of one round. It learns the sum over the survivors, and nothing that it could leak."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradiometer.numerics import shamir

from .client import ENVELOPE, seed_digest
from .keys import KEY, SIGNATURE, public_half
from .record import Reader, Record, Refused
from .settings import Settings
from .view import Roster, View
from .words import Words, add_masks, from_words, unpack


@dataclass(frozen=True, kw_only=True, eq=False)
class Total:
    """What a round came to.

    Args:
        values: [length], the sum over the survivors in the unit of the values, exact to the fixed point.
        survivors: whose vectors are in it.
    """

    values: Tensor
    survivors: tuple[int, ...]


class SecureServer:
    """Call the methods in this order, each with the records that arrived: clients that answer no more have dropped out.

    Args:
        settings: of the round; `settings.record()` is the invitation for all clients.

    Raises (every method):
        Refused: a record is malformed, a client answers twice or was not asked, or fewer answer than the threshold.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._seed_digests: dict[int, bytes] = {}
        self._survivors: tuple[int, ...] = ()
        self._sum: Words | None = None

    def roster(self, adverts: Iterable[Any]) -> Record:
        """The adverts of all clients as one record for all of them."""
        columns = {"channel_key": KEY, "mask_key": KEY, "commitment": KEY, "signature": SIGNATURE}
        found: dict[int, list[bytes]] = {}
        for record in adverts:
            reader = Reader(record, "advert", "client", *columns)
            _admit(reader.integer("client"), found, None)
            found[reader.integer("client")] = [reader.octets(name, size) for name, size in columns.items()]
        clients = sorted(found)
        fields = [list(column) for column in zip(*(found[client] for client in clients))] or [[], [], [], []]
        names = ("channel_keys", "mask_keys", "commitments", "signatures")
        record = {"kind": "roster", "clients": clients, **dict(zip(names, fields))}
        self._roster = Roster.read(record, self.settings)
        return record

    def deliver(self, shares: Iterable[Any]) -> dict[int, Record]:
        """The shares, sorted by recipient: one record for every client that sent some."""
        members, others = self._roster.clients, len(self._roster.clients) - 1
        nonces: dict[int, bytes] = {}
        envelopes: dict[int, tuple[bytes, ...]] = {}
        for record in shares:
            reader = Reader(record, "shares", "client", "nonce", "seed_digest", "envelopes")
            client = reader.integer("client")
            _admit(client, nonces, members)
            nonces[client] = reader.octets("nonce", KEY)
            self._seed_digests[client] = reader.octets("seed_digest", KEY)
            envelopes[client] = reader.pieces("envelopes", others, ENVELOPE)
        present = tuple(sorted(nonces))
        opened = tuple(nonces[client] for client in present)
        self._view = View(settings=self.settings, roster=self._roster, present=present, nonces=opened)
        place = {client: self._roster.place(client) for client in present}

        def sent(sender: int, recipient: int) -> bytes:
            """A sender's list leaves out its own place."""
            return envelopes[sender][place[recipient] - (place[recipient] > place[sender])]

        return {
            client: {
                "kind": "deliveries",
                "clients": list(present),
                "nonces": list(opened),
                "envelopes": [sent(sender, client) for sender in present if sender != client],
            }
            for client in present
        }

    def survivors(self, masked: Iterable[Any]) -> Record:
        """Adds the masked vectors up, one at a time, and tells whose arrived."""
        found: set[int] = set()
        for record in masked:
            reader = Reader(record, "masked", "client", "words")
            _admit(reader.integer("client"), found, self._view.present)
            found.add(reader.integer("client"))
            size = self.settings.length * self.settings.word_bytes
            words = unpack(reader.octets("words", size), self.settings.word_bytes)
            if self._sum is None:
                self._sum = words
            else:
                np.add(self._sum, words, out=self._sum)
        self._survivors = tuple(sorted(found))
        self._view.check_survivors(self._survivors)
        return {"kind": "survivors", "clients": list(self._survivors)}

    def consents(self, consents: Iterable[Any]) -> Record:
        """The signatures over the list of survivors, for all who gave one."""
        found: dict[int, bytes] = {}
        for record in consents:
            reader = Reader(record, "consent", "client", "signature")
            _admit(reader.integer("client"), found, self._survivors)
            found[reader.integer("client")] = reader.octets("signature", SIGNATURE)
        self._enough(found)
        clients = sorted(found)
        return {"kind": "consents", "clients": clients, "signatures": [found[client] for client in clients]}

    def total(self, opened: Iterable[Any]) -> Total:
        """Puts the secrets together that remove the masks: seeds of survivors, keys of those who dropped out."""
        found: dict[int, tuple[bytes, ...]] = {}
        for record in opened:
            reader = Reader(record, "opened", "client", "shares")
            _admit(reader.integer("client"), found, self._survivors)
            found[reader.integer("client")] = reader.pieces("shares", len(self._view.present), shamir.SHARE)
        self._enough(found)
        helpers = sorted(found)[: self.settings.threshold]
        weights = shamir.weights([self._roster.place(client) + 1 for client in helpers])
        alive = {*self._survivors}
        plus, minus = [], []
        for place, client in enumerate(self._view.present):
            secret = shamir.combine([found[helper][place] for helper in helpers], weights)
            self._check(client, secret, client in alive)
            assert secret is not None
            if client in alive:
                minus.append(secret)
            else:
                # A survivor added what the one who is gone would have subtracted: adding the latter's masks removes it.
                near = self._view.neighbors[client] & alive
                more, less = self._view.mask_keys_of(client, secret, near)
                plus += more
                minus += less
        assert self._sum is not None
        add_masks(self._sum, plus, minus)
        integers = torch.from_numpy(from_words(self._sum, self.settings.word_bytes))
        return Total(values=self.settings.fixed_point.decode(integers), survivors=self._survivors)

    def _check(self, client: int, secret: bytes | None, alive: bool) -> None:
        known = self._seed_digests[client] if alive else self._roster.mask_keys[self._roster.place(client)]
        if secret is None or known != (seed_digest(self.settings, client, secret) if alive else public_half(secret)):
            raise Refused(f"the shares of client {client}'s secret do not fit together: some were altered")

    def _enough(self, found: dict[int, Any]) -> None:
        if len(found) < self.settings.threshold:
            raise Refused(f"{len(found)} clients answered, at least {self.settings.threshold} wanted")


def _admit(client: int, found: Iterable[int], asked: tuple[int, ...] | None) -> None:
    if client in found or (asked is not None and client not in asked):
        raise Refused(f"client {client} answered twice, or was not asked")
