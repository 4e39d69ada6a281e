"""HomomorphicAggregation: the server adds ciphertexts, and whoever holds the secret key reads the sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from gradiometer.core import BadInput, Card, Values

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
        parameters: of CKKS.
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
    parameters: Parameters = field(default_factory=Parameters)

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

    def mean(
        self, messages: Sequence[Values], counts: Sequence[int], *, most: int, rng: torch.Generator, round: int = 0
    ) -> tuple[dict[str, Tensor], int]:
        """The mean of the messages weighted by numbers of examples, of which the server learns none.

        Every client sends `w v` and `w`, with `w = count / most`.

        Args:
            counts: of every client, 1 to `most`.

        Raises:
            As `sum`; BadInput: a count out of range.
        """
        if not all(1 <= count <= most for count in counts):
            raise BadInput(f"numbers of examples must lie between 1 and {most}, got {min(counts)} to {max(counts)}")
        weights = [count / most for count in counts]
        vectors = [
            torch.cat([weight * flat(one, messages[0]), torch.tensor([weight], dtype=torch.float64)])
            for one, weight in zip(messages, weights, strict=True)
        ]
        total, sent = self._added(vectors)
        return named(total[:-1] / total[-1], messages[0]), sent

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
