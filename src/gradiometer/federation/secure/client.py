"""SecureClient: one client in one round of secure aggregation, as a machine that answers five records of the server."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gradiometer.core import BadInput
from gradiometer.numerics import shamir

from .keys import KEY, SIGNATURE, TAG, agree, public_half, seal, sign, unseal, verifies
from .member import Member
from .record import Reader, Record, Refused, digest
from .settings import Settings
from .view import Roster, View, advert_digest, nonce_commitment
from .words import add_masks, pack, to_words

STAGES = ("advertise", "share", "mask", "consent", "open", "done")
ENVELOPE = 2 * shamir.SHARE + TAG


@dataclass(kw_only=True)
class SecureClient:
    """Call the methods in this order, each with what the server sent: advertise, share, mask, consent, open.

    Every method returns the record to send, or raises; after an error the client is out of the round, and every further
    call raises. What it knows between two calls is in its fields: see `storage.py`.

    Args:
        member: who it is.
        entropy: so many secret random bytes; exchange it in tests only.
    """

    member: Member
    entropy: Callable[[int], bytes] = field(default=secrets.token_bytes, repr=False)
    stage: str = "advertise"
    settings: Settings | None = None
    channel_private: bytes = field(default=b"", repr=False)
    mask_private: bytes = field(default=b"", repr=False)
    self_seed: bytes = field(default=b"", repr=False)
    nonce: bytes = field(default=b"", repr=False)
    roster: Roster | None = None
    view: View | None = None
    shares: dict[int, bytes] = field(default_factory=dict, repr=False)
    survivors: tuple[int, ...] = ()

    def advertise(self, invitation: Any) -> Record:
        """Answers the settings of a round with signed public keys.

        Raises:
            Refused: settings below the member's floors, or a round that is not later than its last one.
        """
        with self._answering("advertise"):
            settings = Settings.read(invitation)
            self.member.floors.check(settings)
            if settings.round <= self.member.after:
                raise Refused(f"round {settings.round} is not later than round {self.member.after}: a replay")
            self.settings = settings
            self.channel_private, self.mask_private, self.self_seed, self.nonce = (self.entropy(KEY) for _ in range(4))
            keys = public_half(self.channel_private), public_half(self.mask_private), nonce_commitment(self.nonce)
            message = advert_digest(settings, self.member.client, *keys)
            return {
                "kind": "advert",
                "client": self.member.client,
                "channel_key": keys[0],
                "mask_key": keys[1],
                "commitment": keys[2],
                "signature": sign(self.member.identity, message),
            }

    def share(self, roster: Any) -> Record:
        """Answers everybody's adverts with shares of both of its secrets, sealed for each of the others.

        Raises:
            Refused: an advert is not signed by a known identity for these settings, its own is missing or changed, or
                there are fewer clients than the floor or the threshold.
        """
        with self._answering("share"):
            settings, mine = self._settings, self.member.client
            found = Roster.read(roster, settings)
            found.verify(settings, self.member.directory)
            if mine not in found.clients:
                raise Refused("the roster does not list this client")
            place, count = found.place(mine), len(found.clients)
            own = found.channel_keys[place], found.mask_keys[place], found.commitments[place]
            if own != (public_half(self.channel_private), public_half(self.mask_private), nonce_commitment(self.nonce)):
                raise Refused("the roster lists other keys for this client than it advertised")
            if count < self.member.floors.clients:
                raise Refused(f"{count} clients, at least {self.member.floors.clients} wanted")
            columns = [
                shamir.split(secret, settings.threshold, count, self.entropy)
                for secret in (self.self_seed, self.mask_private)
            ]
            shares = {client: first + second for client, first, second in zip(found.clients, *columns)}
            self.roster, self.shares = found, {mine: shares[mine]}
            return {
                "kind": "shares",
                "client": mine,
                "nonce": self.nonce,
                "seed_digest": seed_digest(settings, mine, self.self_seed),
                "envelopes": [
                    seal(self._channel(mine, other), shares[other], self._context(mine, other))
                    for other in found.clients
                    if other != mine
                ],
            }

    def mask(self, deliveries: Any, values: Tensor, rng: torch.Generator, *, context: bytes | None = None) -> Record:
        """Answers the others' shares with its own vector under all masks.

        Args:
            values: [settings.length], real and finite; clipped to the agreed range and rounded at random.
            rng: of the rounding.
            context: the hash of what this client was told, to be compared with the one that everybody signed for: a
                server that sends one client another model would read that client through the sum. None does not compare.

        Raises:
            Refused: an envelope that was altered, a nonce that was not committed to, another context, or fewer clients
                than the threshold.
            BadInput: values of another length, or not finite.
        """
        with self._answering("mask"):
            settings, mine = self._settings, self.member.client
            if context is not None and context != settings.context:
                raise Refused("this client was told something else (another model) than what was announced to all")
            reader = Reader(deliveries, "deliveries", "clients", "nonces", "envelopes")
            present = reader.clients()
            if mine not in present:
                raise Refused("the server says that this client shared no secrets")
            nonces = reader.pieces("nonces", len(present), KEY)
            self.view = View(settings=settings, roster=self._roster, present=present, nonces=nonces)
            others = [client for client in present if client != mine]
            for client, envelope in zip(others, reader.pieces("envelopes", len(others), ENVELOPE), strict=True):
                share = unseal(self._channel(client, mine), envelope, self._context(client, mine))
                if share is None:
                    raise Refused(f"the share from client {client} was altered, or is not from this round")
                self.shares[client] = share
            if values.shape != (settings.length,) or not torch.isfinite(values).all():
                raise BadInput(f"a vector of {settings.length} finite values was agreed on, got {tuple(values.shape)}")
            words = to_words(settings.fixed_point.encode(values, rng).numpy(), settings.word_bytes)
            plus, minus = self.view.mask_keys_of(mine, self.mask_private, self.view.neighbors[mine])
            add_masks(words, [self.self_seed, *plus], minus)
            return {"kind": "masked", "client": mine, "words": pack(words, settings.word_bytes)}

    def consent(self, survivors: Any) -> Record:
        """Answers the list of those whose masked vectors arrived with a signature over it and all that went before.

        Raises:
            Refused: the list leaves this client out, names strangers, is too short, or could split the sum.
        """
        with self._answering("consent"):
            found = Reader(survivors, "survivors", "clients").clients()
            if self.member.client not in found:
                raise Refused("the server says that this client did not survive")
            self._view.check_survivors(found, self.member.floors)
            self.survivors = found
            message = self._view.survivors_digest(found)
            return {
                "kind": "consent",
                "client": self.member.client,
                "signature": sign(self.member.identity, message),
            }

    def open(self, consents: Any) -> Record:
        """Answers the others' consents with one share a client: of its self-mask seed if it survived, of its key if not.

        Raises:
            Refused: fewer than the threshold consent, or one signature is not over this very list.
        """
        with self._answering("open"):
            reader = Reader(consents, "consents", "clients", "signatures")
            agreed = reader.clients()
            if not {*agreed} <= {*self.survivors} or len(agreed) < self._settings.threshold:
                raise Refused(f"{len(agreed)} consents, at least {self._settings.threshold} from survivors wanted")
            message = self._view.survivors_digest(self.survivors)
            for client, signature in zip(agreed, reader.pieces("signatures", len(agreed), SIGNATURE), strict=True):
                if not verifies(self.member.directory[client], signature, message):
                    raise Refused(f"client {client} did not consent to the list of survivors that this client was told")
            alive = {*self.survivors}
            return {
                "kind": "opened",
                "client": self.member.client,
                "shares": [
                    self.shares[client][: shamir.SHARE] if client in alive else self.shares[client][shamir.SHARE :]
                    for client in self._view.present
                ],
            }

    def _answering(self, stage: str) -> _Answering:
        return _Answering(self, stage)

    def _channel(self, sender: int, recipient: int) -> bytes:
        """The key of the envelope from one to the other."""
        other = recipient if sender == self.member.client else sender
        purpose = digest("channel", self._settings.digest, sender, recipient)
        return agree(self.channel_private, self._roster.channel_keys[self._roster.place(other)], purpose)

    def _context(self, sender: int, recipient: int) -> bytes:
        return digest("envelope", self._settings.digest, self._roster.digest, sender, recipient)

    @property
    def _settings(self) -> Settings:
        assert self.settings is not None
        return self.settings

    @property
    def _roster(self) -> Roster:
        assert self.roster is not None
        return self.roster

    @property
    def _view(self) -> View:
        assert self.view is not None
        return self.view


@dataclass(frozen=True)
class _Answering:
    """Lets a stage be played once, in its order, and ends the round for good where it fails."""

    client: SecureClient
    stage: str

    def __enter__(self) -> None:
        if self.client.stage != self.stage:
            stage, self.client.stage = self.client.stage, "refused"
            raise Refused(f"asked to {self.stage}, but this client's next stage is {stage!r}: nothing is sent")
        self.client.stage = "refused"

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.client.stage = STAGES[STAGES.index(self.stage) + 1]


def seed_digest(settings: Settings, client: int, seed: bytes) -> bytes:
    """Tells the server whether the seed that it puts together is the client's, and nothing else about it."""
    return digest("seed", settings.digest, client, seed)
