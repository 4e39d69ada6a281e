"""Data: the private examples of a client, with what is public about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from .batch import Batch, Layout
from .card import DataCard


@runtime_checkable
class Tokenizer(Protocol):
    """From text to entries of a vocabulary and back. Public: the server chose it."""

    @property
    def size(self) -> int: ...

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Data:
    """Examples on both sides of the wall.

    Args:
        private: what the clients train on, and attacks try to recover.
        public: other examples of the same kind that anybody has: blind baselines and proxy priors come from here.
        test: held-out examples, to measure accuracy.
        layout: shape and legal values of one example.
        card: source, license, and whether a report may show the examples.
        names: of the classes, where they have any.
        tokenizer: of text.
        symbols: what a node is called in drawings, by the place of the 1 in its first block of features.
    """

    private: Batch
    layout: Layout
    public: Batch | None = None
    test: Batch | None = None
    card: DataCard = DataCard.default
    names: tuple[str, ...] = ()
    tokenizer: Tokenizer | None = None
    symbols: tuple[str, ...] = ()
