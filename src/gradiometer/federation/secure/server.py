"""SecureServer: the server's side of one round. It learns the sum over the survivors, and nothing that it could leak."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from gradiometer.numerics import shamir

from .client import ENVELOPE, seed_digest
from .keys import KEY, SIGNATURE, public_half, verifies
from .record import Reader, Record, Refused
from .settings import Settings
from .view import Roster, View, advert_digest, nonce_commitment
from .words import Words, add_masks, from_words, unpack

T = TypeVar("T")


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

    A client whose record is malformed, comes twice or was not asked for counts as dropped out, and `faults` says why.

    Args:
        settings: of the round; `settings.record()` is the invitation for all clients.
        directory: public identities, to leave out adverts that every client would refuse; None does not check them.

    Raises (every method):
        Refused: fewer records than the threshold are left.
    """

    def __init__(self, settings: Settings, directory: Mapping[int, bytes] | None = None) -> None:
        self.settings = settings
        self.directory = directory
        self.faults: list[str] = []
        self._seed_digests: dict[int, bytes] = {}
        self._survivors: tuple[int, ...] = ()
        self._sum: Words | None = None

    def roster(self, adverts: Iterable[Any]) -> Record:
        """The adverts of all clients as one record for all of them."""
        columns = {"channel_key": KEY, "mask_key": KEY, "commitment": KEY, "signature": SIGNATURE}
        taken: set[bytes] = set()

        def read(record: Any) -> tuple[int, list[bytes]]:
            reader = Reader(record, "advert", "client", *columns)
            client, fields = reader.integer("client"), [reader.octets(name, size) for name, size in columns.items()]
            keys = {*fields[:2]}
            if len(keys) < 2 or keys & taken:
                raise Refused(f"client {client} advertises a key twice, or another client's")
            if self.directory is not None:
                message = advert_digest(self.settings, client, *fields[:3])
                if client not in self.directory or not verifies(self.directory[client], fields[3], message):
                    raise Refused(f"client {client}'s advert is not signed by the identity in the directory")
            taken.update(keys)
            return client, fields

        found = dict(self._screened(adverts, read))
        self._enough(found)
        clients = sorted(found)
        names = ("channel_keys", "mask_keys", "commitments", "signatures")
        record: Record = {"kind": "roster", "clients": clients}
        record |= {name: [found[client][i] for client in clients] for i, name in enumerate(names)}
        self._roster = Roster.read(record, self.settings)
        return record

    def deliver(self, shares: Iterable[Any]) -> dict[int, Record]:
        """The shares, sorted by recipient: one record for every client that sent some."""
        roster = self._roster

        def read(record: Any) -> tuple[int, tuple[bytes, bytes, tuple[bytes, ...]]]:
            reader = Reader(record, "shares", "client", "nonce", "seed_digest", "envelopes")
            client, nonce = reader.integer("client"), reader.octets("nonce", KEY)
            if client in roster.clients and nonce_commitment(nonce) != roster.commitments[roster.place(client)]:
                raise Refused(f"the nonce of client {client} is not the one it committed to")
            envelopes = reader.pieces("envelopes", len(roster.clients) - 1, ENVELOPE)
            return client, (nonce, reader.octets("seed_digest", KEY), envelopes)

        found = dict(self._screened(shares, read, roster.clients))
        self._enough(found)
        present = tuple(sorted(found))
        nonces = tuple(found[client][0] for client in present)
        self._seed_digests = {client: found[client][1] for client in present}
        self._view = View(settings=self.settings, roster=roster, present=present, nonces=nonces)
        place = {client: roster.place(client) for client in present}

        def sent(sender: int, recipient: int) -> bytes:
            """A sender's list leaves out its own place."""
            return found[sender][2][place[recipient] - (place[recipient] > place[sender])]

        return {
            client: {
                "kind": "deliveries",
                "clients": list(present),
                "nonces": list(nonces),
                "envelopes": [sent(sender, client) for sender in present if sender != client],
            }
            for client in present
        }

    def survivors(self, masked: Iterable[Any]) -> Record:
        """Adds the masked vectors up, one at a time, and tells whose arrived."""
        width = self.settings.word_bytes

        def read(record: Any) -> tuple[int, Words]:
            reader = Reader(record, "masked", "client", "words")
            return reader.integer("client"), unpack(reader.octets("words", self.settings.length * width), width)

        found = []
        for client, words in self._screened(masked, read, self._view.present):
            found.append(client)
            self._sum = words if self._sum is None else np.add(self._sum, words, out=self._sum)
        self._enough(found)
        self._survivors = tuple(sorted(found))
        return {"kind": "survivors", "clients": list(self._survivors)}

    def consents(self, consents: Iterable[Any]) -> Record:
        """The signatures over the list of survivors, for all who gave one."""

        def read(record: Any) -> tuple[int, bytes]:
            reader = Reader(record, "consent", "client", "signature")
            return reader.integer("client"), reader.octets("signature", SIGNATURE)

        found = dict(self._screened(consents, read, self._survivors))
        self._enough(found)
        clients = sorted(found)
        return {"kind": "consents", "clients": clients, "signatures": [found[client] for client in clients]}

    def total(self, opened: Iterable[Any]) -> Total:
        """Puts the secrets together that remove the masks: seeds of survivors, keys of those who dropped out.

        Raises:
            Refused: also where shares do not fit together. Somebody altered them; there is no sum then.
        """

        def read(record: Any) -> tuple[int, tuple[bytes, ...]]:
            reader = Reader(record, "opened", "client", "shares")
            return reader.integer("client"), reader.pieces("shares", len(self._view.present), shamir.SHARE)

        found = dict(self._screened(opened, read, self._survivors))
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

    def _screened(
        self, records: Iterable[Any], read: Callable[[Any], tuple[int, T]], asked: Collection[int] | None = None
    ) -> Iterator[tuple[int, T]]:
        """Who sent what, without the records that do not fit."""
        seen: set[int] = set()
        for record in records:
            try:
                client, content = read(record)
                if client in seen or (asked is not None and client not in asked):
                    raise Refused(f"client {client} answered twice, or was not asked")
            except Refused as fault:
                self.faults.append(str(fault))
                continue
            seen.add(client)
            yield client, content

    def _enough(self, found: Collection[int]) -> None:
        if len(found) < self.settings.threshold:
            faults = "".join(f"; {fault}" for fault in self.faults[:5])
            raise Refused(f"{len(found)} clients answered, at least {self.settings.threshold} wanted{faults}")
