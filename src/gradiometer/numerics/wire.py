"""Sizes of encoded messages, in bytes, without entropy coding."""

from __future__ import annotations

from gradiometer.core import Values

FLOAT = 4
"""Bytes of a scale, sent in single precision."""


def dense_bytes(values: Values, bits: int, scales: int) -> int:
    """`bits` an entry, every tensor filled up to whole bytes, and so many scales."""
    return sum(-(-value.numel() * bits // 8) for value in values.values()) + FLOAT * scales


def sparse_bytes(values: Values) -> int:
    """The entries that are not zero, each with its position in its tensor; or all, where that is shorter."""
    total = 0
    for value in values.values():
        position = -(-max(value.numel() - 1, 1).bit_length() // 8)
        entry = value.element_size()
        total += min(int(value.count_nonzero()) * (entry + position), value.numel() * entry)
    return total
