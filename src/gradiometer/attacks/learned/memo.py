"""What was learned once serves every round of the same kind: an audit meets each kind many times over."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

LIMIT = 1 << 30
"""Bytes that are kept."""


@runtime_checkable
class Learned(Protocol):
    """Something learned, and how many bytes it takes."""

    @property
    def nbytes(self) -> int: ...


T = TypeVar("T", bound=Learned)
_KEPT: OrderedDict[str, Any] = OrderedDict()


def remembered(print: str, learn: Callable[[], T]) -> T:
    """What `learn` returns; the one that was returned before, if its `print` is known. The longest unused goes first.

    Args:
        print: a hash of all that the result depends on, so that nobody can tell whether it was learned anew.
    """
    if print not in _KEPT:
        _KEPT[print] = learn()
    _KEPT.move_to_end(print)
    while len(_KEPT) > 1 and sum(known.nbytes for known in _KEPT.values()) > LIMIT:
        _KEPT.popitem(last=False)
    found: T = _KEPT[print]
    return found
