"""Words: integers modulo 2^(8 w), sized for a sum, packed into w bytes each, and the masks that hide them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .keys import keystream

Words = NDArray[np.unsignedinteger]
BLOCK = 2**15
"""Words masked at a time: as much as stays in a core's own cache."""


def word_bytes(largest: int) -> int:
    """The fewest bytes w such that every sum of magnitude at most `largest` has its own residue: 2^(8 w) > 2 largest."""
    return -(-(2 * largest).bit_length() // 8)


def _dtype(width: int) -> np.dtype[np.unsignedinteger]:
    return np.dtype("<u2" if width <= 2 else "<u4" if width <= 4 else "<u8")


def to_words(integers: NDArray[np.int64], width: int) -> Words:
    """Signed integers as residues."""
    return integers.astype(_dtype(width))


def from_words(words: Words, width: int) -> NDArray[np.int64]:
    """The integer of least magnitude of every residue."""
    shift = 64 - 8 * width
    return np.right_shift(np.left_shift(words.astype(np.int64), shift), shift)


def pack(words: Words, width: int) -> bytes:
    """`width` bytes a word, little-endian: the residue modulo 2^(8 width)."""
    return words.view(np.uint8).reshape(len(words), words.itemsize)[:, :width].tobytes()


def unpack(data: bytes, width: int) -> Words:
    """Undoes `pack`."""
    octets = np.frombuffer(data, np.uint8).reshape(-1, width)
    words = np.zeros((len(octets), _dtype(width).itemsize), np.uint8)
    words[:, :width] = octets
    return words.view(_dtype(width)).reshape(-1)


def add_masks(words: Words, plus: Sequence[bytes], minus: Sequence[bytes]) -> None:
    """words += sum of the streams of the keys `plus` - those of `minus`, in place, modulo 2^(8 itemsize)."""
    streams = [(keystream(key), np.add) for key in plus] + [(keystream(key), np.subtract) for key in minus]
    zeros, buffer = memoryview(bytes(BLOCK * words.itemsize)), bytearray(BLOCK * words.itemsize + 64)
    mask = np.frombuffer(buffer, words.dtype)
    for start in range(0, len(words), BLOCK):
        part = words[start : start + BLOCK]
        for stream, combine in streams:
            stream.update_into(zeros[: part.nbytes], buffer)
            combine(part, mask[: len(part)], out=part)
