"""Message: an encrypted vector as bytes, read strictly."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from gradiometer.core import BadInput

from .parameters import Parameters

MAGIC = b"GMCKKS1\n"
HEAD = struct.Struct(">8s32sQI")
SIZE = struct.Struct(">I")
MOST_ENTRIES, MOST_CLIENTS = 2**32, 2**16


@dataclass(frozen=True, kw_only=True)
class Message:
    """Serialized ciphertexts of one vector, or of a sum of vectors.

    Args:
        key: fingerprint of the key, 32 bytes: ciphertexts of two keys add up to noise, and nobody would notice.
        length: entries of the vector.
        clients: how many vectors are added up.
        parts: a ciphertext for every `slots` entries.
    """

    key: bytes
    length: int
    clients: int
    parts: tuple[bytes, ...]

    def encode(self) -> bytes:
        """magic, key, length, clients, and every ciphertext behind its size; numbers are big-endian."""
        body = [piece for part in self.parts for piece in (SIZE.pack(len(part)), part)]
        return b"".join([HEAD.pack(MAGIC, self.key, self.length, self.clients), *body])

    @staticmethod
    def decode(data: bytes, parameters: Parameters, *, key: bytes, length: int) -> Message:
        """What `encode` wrote, of this key and for a vector of this length; the ciphertexts are not looked into.

        Raises:
            BadInput: naming the first thing that is not as it must be.
        """
        if len(data) < HEAD.size:
            raise _bad(f"{len(data)} bytes are less than a header")
        magic, found, entries, clients = HEAD.unpack_from(data)
        if magic != MAGIC:
            raise _bad("it does not begin as one")
        if found != key:
            raise _bad("it was made with another key", fix="give all clients the key of this round")
        if entries != length or not 0 < entries <= MOST_ENTRIES:
            raise _bad(f"it says {entries} entries where {length} are expected")
        if not 0 < clients <= MOST_CLIENTS:
            raise _bad(f"it says that it is a sum over {clients} clients")
        parts = tuple(_parts(data, -(-length // parameters.slots), parameters.most_bytes))
        return Message(key=found, length=entries, clients=clients, parts=parts)


def _parts(data: bytes, count: int, most: int) -> Iterator[bytes]:
    place = HEAD.size
    for i in range(count):
        if len(data) < place + SIZE.size:
            raise _bad(f"it ends before ciphertext {i} of {count}")
        (size,) = SIZE.unpack_from(data, place)
        place += SIZE.size
        if not 0 < size <= most:
            raise _bad(f"ciphertext {i} says {size} bytes, and {most} is the most")
        if len(data) < place + size:
            raise _bad(f"it ends within ciphertext {i} of {count}")
        yield data[place : place + size]
        place += size
    if place != len(data):
        raise _bad(f"{len(data) - place} bytes follow the last ciphertext")


def _bad(why: str, fix: str = "") -> BadInput:
    return BadInput(f"this is no encrypted vector: {why}", fix=fix or "refuse it, and ask its sender for another")
