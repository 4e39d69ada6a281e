"""Records: the messages of the protocol as flat dictionaries of plain values, read strictly and hashed one way only."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from gradiometer.core import BadInput

Record = dict[str, int | float | str | bytes | list[int] | list[bytes]]
"""What travels: no nesting, so that every transport's own configuration record holds it."""

LARGEST = 2**63 - 1


class Refused(BadInput):
    """A message that an honest party would not have sent. Who refuses sends nothing more in this round."""


def digest(*parts: str | bytes | int | float | Iterable[int] | Iterable[bytes]) -> bytes:
    """SHA-256 of values of any length, tagged and counted: no two lists of parts give the same bytes."""
    hashed = hashlib.sha256(b"gradiometer secure aggregation 1")
    for part in parts:
        hashed.update(_encoded(part))
    return hashed.digest()


def _encoded(part: Any) -> bytes:
    if isinstance(part, bytes):
        return b"b" + len(part).to_bytes(8, "big") + part
    if isinstance(part, str):
        return b"s" + len(part.encode()).to_bytes(8, "big") + part.encode()
    if isinstance(part, int):
        return b"i" + part.to_bytes(8, "big", signed=True)
    if isinstance(part, float):
        return b"f" + struct.pack(">d", part)
    items = [_encoded(item) for item in part]
    return b"l" + len(items).to_bytes(8, "big") + b"".join(items)


class Reader:
    """Takes a record apart, field by field.

    Raises:
        Refused: it is no record of this kind, or a field is missing, unknown, of another type, size or range.
    """

    def __init__(self, record: Any, kind: str, *fields: str) -> None:
        if not isinstance(record, Mapping) or record.get("kind") != kind:
            got = record.get("kind") if isinstance(record, Mapping) else type(record).__name__
            raise Refused(f"expected a record of kind {kind!r}, got {got!r}")
        odd = {str(name) for name in record} ^ {"kind", *fields}
        if odd:
            raise Refused(f"a {kind!r} record with missing or unknown fields: {', '.join(sorted(odd)[:5])}")
        self.record, self.kind = record, kind

    def integer(self, name: str, low: int = 0, high: int = LARGEST) -> int:
        return self._integer(self.record[name], name, low, high)

    def number(self, name: str) -> float:
        value = self.record[name]
        if type(value) is not float:
            self._refuse(name, "is no float")
        return float(value)

    def octets(self, name: str, size: int) -> bytes:
        return self._octets(self.record[name], name, size)

    def clients(self, name: str = "clients") -> tuple[int, ...]:
        """Numbers of clients, ascending: nobody is listed twice, and there is one way only to write a list."""
        found = tuple(self._integer(value, name, 0, LARGEST) for value in self._list(name))
        if any(a >= b for a, b in pairwise(found)):
            self._refuse(name, "does not list clients in ascending order, each once")
        return found

    def pieces(self, name: str, count: int, size: int) -> tuple[bytes, ...]:
        found = self._list(name)
        if len(found) != count:
            self._refuse(name, f"has {len(found)} items instead of {count}")
        return tuple(self._octets(value, name, size) for value in found)

    def _list(self, name: str) -> list[Any]:
        value = self.record[name]
        if not isinstance(value, list):
            self._refuse(name, "is no list")
        return list(value)

    def _integer(self, value: Any, name: str, low: int, high: int) -> int:
        if type(value) is not int or not low <= value <= high:
            self._refuse(name, f"is no integer from {low} to {high}")
        return int(value)

    def _octets(self, value: Any, name: str, size: int) -> bytes:
        if type(value) is not bytes or len(value) != size:
            self._refuse(name, f"is not {size} bytes long")
        return bytes(value)

    def _refuse(self, name: str, fault: str) -> None:
        raise Refused(f"field {name!r} of a {self.kind!r} record {fault}")
