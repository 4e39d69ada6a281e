"""A prior on sentences: a small value that an attack carries, and what it becomes for one update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from gradiometer.core import Update

Sentence = Sequence[int]


@runtime_checkable
class Language(Protocol):
    """How likely sequences of tokens are, before any gradient was seen."""

    def surprise(self, sentences: Sequence[Sentence], *, whole: bool = True) -> Tensor:
        """-log p of each sequence in nats, over its tokens; [n], double. Divided by its length, exp of it is the perplexity.

        Args:
            whole: the sequences also end where they end; else they are beginnings.
        """
        ...


@runtime_checkable
class LanguagePrior(Protocol):
    """A language model as a setting of an attack."""

    def learned(self, update: Update) -> Language:
        """The model, ready for this update's vocabulary.

        Raises:
            MissingKnowledge: it learns from public sentences, and the threat grants none.
        """
        ...
