"""Keys: whoever has the public one can encrypt and add; whoever has the secret one can read everything, sums and single messages."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from gradiometer.core import BadInput, Unsupported

from .message import Message
from .parameters import Parameters

MOST_CONTEXT = 2**25
"""Bytes of a serialized public key, for rings up to 32,768."""


def _tenseal() -> Any:
    try:
        import tenseal
    except ImportError as error:
        raise Unsupported(
            'homomorphic encryption needs the package "tenseal"', fix='pip install "gradiometer[he]"'
        ) from error
    return tenseal


@dataclass(frozen=True, eq=False)
class PublicKey:
    """What a server needs to add, and a client to encrypt. It reads nothing.

    Randomness of keys and ciphertexts is SEAL's own, from the system: two runs differ, and must.
    """

    parameters: Parameters
    fingerprint: bytes
    context: Any

    @staticmethod
    def read(data: bytes, parameters: Parameters) -> PublicKey:
        """A public key from elsewhere.

        Raises:
            BadInput: it is damaged, of other parameters than the agreed ones, or holds a secret key.
            Unsupported: TenSEAL is missing.
        """
        context = _read_context(data, parameters)
        if context.has_secret_key():
            raise BadInput(
                "this key holds the secret key", fix="its owner must make a new one: this one was given away"
            )
        return PublicKey(parameters, hashlib.sha256(data).digest(), context)

    def encode(self) -> bytes:
        """Without any secret."""
        written: bytes = self.context.serialize(
            save_secret_key=False, save_galois_keys=False, save_relin_keys=False, save_public_key=True
        )
        return written

    def encrypt(self, vector: Tensor) -> bytes:
        """One client's vector [length] as bytes.

        Raises:
            BadInput: it is empty, not finite, or so large that it would wrap around.
        """
        if vector.ndim != 1 or not len(vector) or not bool(torch.isfinite(vector).all()):
            raise BadInput("only a finite vector with entries can be encrypted")
        largest = float(vector.abs().max())
        if largest >= self.parameters.limit:
            raise BadInput(
                f"an entry of magnitude {largest:.3g} wraps around: the limit is {self.parameters.limit:.3g}",
                fix="clip the update, or agree on a smaller scale",
            )
        make = _tenseal().ckks_vector
        parts = [make(self.context, part.tolist()).serialize() for part in vector.double().split(self.parameters.slots)]
        return Message(key=self.fingerprint, length=len(vector), clients=1, parts=tuple(parts)).encode()

    def add(self, messages: Sequence[bytes], *, length: int) -> bytes:
        """The encrypted sum. The adder sees lengths and who sent what, and no entry.

        Args:
            length: of every vector, as agreed.

        Raises:
            BadInput: no message, or one that is not an encrypted vector of this key and length.
        """
        if not messages:
            raise BadInput("there is nothing to add")
        read = [Message.decode(data, self.parameters, key=self.fingerprint, length=length) for data in messages]
        sums = []
        for i, first in enumerate(read[0].parts):
            total = self._ciphertext(first, i, length)
            for other in read[1:]:
                total += self._ciphertext(other.parts[i], i, length)
            sums.append(total.serialize())
        clients = sum(message.clients for message in read)
        return Message(key=self.fingerprint, length=length, clients=clients, parts=tuple(sums)).encode()

    def _ciphertext(self, data: bytes, number: int, length: int) -> Any:
        """A ciphertext of the agreed form: TenSEAL checks that it is one of this ring, and the rest is checked here."""
        slots, scale = self.parameters.slots, 2.0**self.parameters.scale
        try:
            found = _tenseal().ckks_vector_from(self.context, data)
            (inner,) = found.ciphertext()
            form = (found.size(), inner.size(), inner.scale, inner.is_transparent())
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise BadInput(
                f"ciphertext {number} is damaged: {error}", fix="refuse it, and ask its sender again"
            ) from error
        if form != (min(slots, length - number * slots), 2, scale, False):
            raise BadInput(
                f"ciphertext {number} is not of the agreed form: {form[0]} entries, {form[1]} polynomials, scale {form[2]:g}",
                fix="refuse it, and ask its sender again",
            )
        return found


@dataclass(frozen=True, eq=False)
class SecretKey(PublicKey):
    """Reads whatever was encrypted for it: of all clients alike. Who shares it shares everything."""

    @staticmethod
    def read(data: bytes, parameters: Parameters) -> SecretKey:
        """A pair that `encode_secret` wrote, for the clients among themselves.

        Raises:
            BadInput: it is damaged, of other parameters than the agreed ones, or holds no secret key.
            Unsupported: TenSEAL is missing.
        """
        context = _read_context(data, parameters)
        if not context.has_secret_key():
            raise BadInput("this key holds no secret key", fix="read it with PublicKey.read")
        return _pair(parameters, context)

    @property
    def public(self) -> PublicKey:
        """The part that may be given away."""
        return PublicKey.read(self.encode(), self.parameters)

    def encode_secret(self) -> bytes:
        """Both keys. Whoever gets hold of these bytes reads every message of every client."""
        written: bytes = self.context.serialize(
            save_secret_key=True, save_galois_keys=False, save_relin_keys=False, save_public_key=True
        )
        return written

    def decrypt(self, data: bytes, *, length: int) -> tuple[Tensor, int]:
        """The sum [length] in float64, and over how many vectors it says to be.

        Raises:
            BadInput: not an encrypted vector of this key and length.
        """
        message = Message.decode(data, self.parameters, key=self.fingerprint, length=length)
        parts = [self._ciphertext(part, i, length).decrypt() for i, part in enumerate(message.parts)]
        return torch.cat([torch.tensor(part, dtype=torch.float64) for part in parts]), message.clients


def new_key(parameters: Parameters = Parameters()) -> SecretKey:  # noqa: B008 - a frozen value
    """A fresh pair.

    Raises:
        Unsupported: TenSEAL is missing.
    """
    return _pair(parameters, _context(parameters))


def _pair(parameters: Parameters, context: Any) -> SecretKey:
    public = PublicKey(parameters, b"", context).encode()
    return SecretKey(parameters, hashlib.sha256(public).digest(), context)


def _context(parameters: Parameters) -> Any:
    tenseal = _tenseal()
    context = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS, parameters.ring, coeff_mod_bit_sizes=list(parameters.moduli), n_threads=1
    )
    context.global_scale = 2.0**parameters.scale
    context.auto_relin = context.auto_rescale = context.auto_mod_switch = False
    return context


def _read_context(data: bytes, parameters: Parameters) -> Any:
    if not 0 < len(data) <= MOST_CONTEXT:
        raise BadInput(f"a public key has 1 to {MOST_CONTEXT} bytes, and this has {len(data)}")
    try:
        context = _tenseal().context_from(data, n_threads=1)
        usable = context.has_public_key()
        form = tuple(context.seal_context().data.key_parms_id())
        scale = context.global_scale
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise BadInput(f"the public key is damaged: {error}", fix="ask for it again") from error
    if not usable or form != _form(parameters) or scale != 2.0**parameters.scale:
        raise BadInput(
            "the public key is of other parameters than the agreed ones",
            fix="agree on `Parameters`; never take them from the key",
        )
    return context


@cache
def _form(parameters: Parameters) -> tuple[int, ...]:
    """What SEAL calls the parameters, a hash of ring and moduli."""
    return tuple(_context(parameters).seal_context().data.key_parms_id())
