"""HomomorphicAggregation: the server adds ciphertexts, and whoever holds the secret key reads the sum."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gradiometer.core import BadInput, Card, Values

from .averaging import Averaged
from .homomorphic import Parameters, SecretKey, new_key
from .vectors import flat, named


@dataclass(frozen=True, kw_only=True)
class HomomorphicAggregation:
    """Encrypts what clients send under one CKKS key, adds ciphertexts without it, and decrypts the sum.

    The key decides what this is worth. At the clients, the server sees ciphertexts alone, and what comes back from here is what
    the clients see, with whoever they show the new model to. At the server, every message can be decrypted by itself:
    there is no protection against it. All clients share the key (TenSEAL has no threshold scheme): one client that
    works for the server gives it every other client's messages.

    Args:
        ring, moduli, scale: of CKKS, as in `homomorphic.Parameters`.
    """

    card: ClassVar[Card] = Card(
        summary="Adds CKKS ciphertexts: a server without the key sees nothing, and one with the key everything.",
        title="Homomorphic Encryption for Arithmetic of Approximate Numbers",
        authors="Cheon, Kim, Kim, Song",
        year=2017,
        family="cryptographic",
        formula="Dec(sum_i Enc(v_i)) = sum_i v_i + noise",
        strength="fixed",
        departs="one key for all clients and no noise flooding: decrypted sums are for key holders alone",
    )
    ring: int = Parameters.ring
    moduli: tuple[int, int] = Parameters.moduli
    scale: int = Parameters.scale

    def __post_init__(self) -> None:
        _ = self.parameters

    @property
    def parameters(self) -> Parameters:
        """Raises `BadConfig` where they are weaker than 128 bits of security."""
        return Parameters(ring=self.ring, moduli=self.moduli, scale=self.scale)

    def sum(self, messages: Sequence[Values], *, rng: torch.Generator, round: int = 0) -> tuple[dict[str, Tensor], int]:
        """What the holders of the key learn of these messages, one a client, and the bytes that all clients sent.

        Args:
            rng, round: of no use here: keys and ciphertexts draw from the system, and every call makes a key of its own.

        Raises:
            BadInput: no message, or entries so large that their sum wraps around.
            Unsupported: the package `tenseal` is missing.
        """
        total, sent = self._added([flat(one, messages[0]) for one in messages])
        return named(total, messages[0]), sent

    def check(self, clients: int) -> None:
        """Any number of clients will do."""

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
        """The mean of the messages weighted by numbers of examples, of which the server learns none.

        Every client sends `w v` and `w`, with `w = count / most`. Clients that are gone are missed by nobody.

        Args:
            messages, counts: of every client, by its number; a count is 1 to `most`.

        Raises:
            As `sum`; BadInput: a count out of range.
        """
        if not messages:
            raise BadInput("no client sent anything")
        if not all(1 <= count <= most for count in counts.values()):
            raise BadInput(
                f"numbers of examples must lie between 1 and {most}, got {min(counts.values())} to {max(counts.values())}"
            )
        like, weights = next(iter(messages.values())), {client: count / most for client, count in counts.items()}
        vectors = [
            torch.cat([weights[client] * flat(one, like), torch.tensor([weights[client]], dtype=torch.float64)])
            for client, one in messages.items()
        ]
        started = time.process_time()
        total, sent = self._added(vectors)
        return Averaged(
            mean=named(total[:-1] / total[-1], like),
            survivors=tuple(messages),
            uplink=sent,
            seconds=time.process_time() - started,
        )

    def _added(self, vectors: Sequence[Tensor]) -> tuple[Tensor, int]:
        largest, length = sum(float(vector.abs().max()) for vector in vectors), len(vectors[0])
        if largest >= self.parameters.limit:
            raise BadInput(
                f"a sum of entries up to {largest:.3g} wraps around: the limit is {self.parameters.limit:.3g}",
                fix="clip the updates, or take a smaller `scale`",
            )
        key: SecretKey = new_key(self.parameters)
        server = key.public
        sent = [key.encrypt(vector) for vector in vectors]
        total, _ = key.decrypt(server.add(sent, length=length), length=length)
        return total, sum(map(len, sent))
