"""Tokenizers: words, GPT-2's byte pairs and BERT's word pieces, the last two from their published vocabulary files."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from gradiometer.core import BadInput

from .reading import existing, reading

START, END, UNKNOWN = "[CLS]", "[SEP]", "[UNK]"
_WORDS = re.compile(r"\w+|[^\w\s]")
_PIECES = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")


@dataclass(frozen=True, kw_only=True)
class Words:
    """Lower-case words and punctuation marks, one token each, with a start and an end; `Words.of(texts)` collects them."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[str], most: int = 30_000) -> Words:
        """The commonest words of these texts, after `[UNK]`, `[CLS]` and `[SEP]`; equally common ones by alphabet."""
        counts = Counter(word for text in texts for word in _WORDS.findall(text.lower()))
        common = sorted(counts, key=lambda word: (-counts[word], word))[: most - 3]
        return cls(words=(UNKNOWN, START, END, *common))

    @property
    def size(self) -> int:
        return len(self.words)

    @property
    def end(self) -> int | None:
        return self._index[END]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    def encode(self, text: str) -> list[int]:
        words = [START, *_WORDS.findall(text.lower()), END]
        return [self._index.get(word, self._index[UNKNOWN]) for word in words]

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(word for word in (self.words[i] for i in ids) if word not in (START, END))


@dataclass(frozen=True, kw_only=True)
class BytePairs:
    """GPT-2's byte-level byte pair encoding; no start, no end.

    Characters that are numerals but no decimal digits (`²`, `Ⅷ`) count as letters here and as numbers in GPT-2.

    References:
        Sennrich, Haddow, Birch, Neural Machine Translation of Rare Words with Subword Units, 2016, arXiv:1508.07909.
    """

    ids: dict[str, int] = field(repr=False)
    ranks: dict[tuple[str, str], int] = field(repr=False)
    end: int | None = None

    @classmethod
    def load(cls, encoder: str | Path, merges: str | Path) -> BytePairs:
        """From `encoder.json` (or `vocab.json`) and `merges.txt` (or `vocab.bpe`).

        Raises:
            BadInput: a file is missing or is not of that format.
        """
        encoder, merges = existing(encoder), existing(merges)
        with reading(encoder, "a vocabulary"):
            ids = {str(piece): int(i) for piece, i in json.loads(encoder.read_text(encoding="utf-8")).items()}
            if sorted(ids.values()) != list(range(len(ids))):
                raise BadInput(f"{encoder.name} does not number its entries from 0", fix="give the published file")
        with reading(merges, "byte pair merges"):
            lines = merges.read_text(encoding="utf-8").splitlines()
            pairs = [line.split(" ") for line in lines if line and not line.startswith("#version")]
            ranks = {(first, second): rank for rank, (first, second) in enumerate(pairs)}
        return cls(ids=ids, ranks=ranks)

    @property
    def size(self) -> int:
        return len(self.ids)

    def encode(self, text: str) -> list[int]:
        letters = ("".join(_LETTERS[byte] for byte in piece.encode()) for piece in _PIECES.findall(text))
        return [self.ids[part] for piece in letters for part in self._merged(piece)]

    def decode(self, ids: Sequence[int]) -> str:
        letters = "".join(self._pieces[i] for i in ids)
        return bytes(_BYTES[letter] for letter in letters if letter in _BYTES).decode(errors="replace")

    @cached_property
    def _pieces(self) -> dict[int, str]:
        return {i: piece for piece, i in self.ids.items()}

    def _merged(self, piece: str) -> list[str]:
        """The piece's characters, of which the neighbors with the earliest merge are joined until none is left."""
        parts = list(piece)
        while len(parts) > 1:
            best = min(pairwise(parts), key=lambda pair: self.ranks.get(pair, len(self.ranks)))
            if best not in self.ranks:
                break
            joined, i = list[str](), 0
            while i < len(parts):
                pair = i + 1 < len(parts) and (parts[i], parts[i + 1]) == best
                joined.append(parts[i] + parts[i + 1] if pair else parts[i])
                i += 1 + pair
            parts = joined
        return parts


@dataclass(frozen=True, kw_only=True)
class WordPieces:
    """BERT's uncased word pieces: lower case, no accents, then greedily the longest piece; `[CLS] ... [SEP]`.

    References:
        Wu et al., Google's Neural Machine Translation System, 2016, arXiv:1609.08144.
    """

    pieces: tuple[str, ...] = field(repr=False)

    @classmethod
    def load(cls, path: str | Path) -> WordPieces:
        """From `vocab.txt`, one piece a line.

        Raises:
            BadInput: the file is missing or lacks one of `[UNK]`, `[CLS]`, `[SEP]`.
        """
        path = existing(path)
        with reading(path, "a vocabulary"):
            pieces = tuple(path.read_text(encoding="utf-8").splitlines())
            if missing := {UNKNOWN, START, END} - set(pieces):
                raise BadInput(f"{path.name} has no {', '.join(sorted(missing))}", fix="give BERT's vocab.txt")
        return cls(pieces=pieces)

    @property
    def size(self) -> int:
        return len(self.pieces)

    @property
    def end(self) -> int | None:
        return self._index[END]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {piece: i for i, piece in enumerate(self.pieces)}

    def encode(self, text: str) -> list[int]:
        plain = unicodedata.normalize("NFD", text.lower())
        plain = "".join(letter for letter in plain if unicodedata.category(letter) != "Mn")
        words = "".join(f" {c} " if _punctuation(c) else c for c in plain).split()
        inside = [piece for word in words for piece in self._split(word)]
        return [self._index[piece] for piece in (START, *inside, END)]

    def decode(self, ids: Sequence[int]) -> str:
        pieces = (self.pieces[i] for i in ids)
        return " ".join(piece for piece in pieces if piece not in (START, END)).replace(" ##", "")

    def _split(self, word: str) -> list[str]:
        found, start = list[str](), 0
        while start < len(word):
            mark = "##" if start else ""
            ends = (end for end in range(len(word), start, -1) if mark + word[start:end] in self._index)
            end = next(ends, None)
            if end is None:
                return [UNKNOWN]
            found.append(mark + word[start:end])
            start = end
        return found


def _punctuation(letter: str) -> bool:
    """What BERT splits at: every symbol of ASCII and all of Unicode's punctuation."""
    return (
        letter.isascii() and letter.isprintable() and not letter.isalnum() and letter != " "
    ) or unicodedata.category(letter).startswith("P")


def _letters() -> dict[int, str]:
    """GPT-2's visible stand-in for every byte: printable Latin-1 stands for itself, the rest follow from U+0100."""
    visible = {*range(33, 127), *range(161, 173), *range(174, 256)}
    hidden = (byte for byte in range(256) if byte not in visible)
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}


_LETTERS = _letters()
_BYTES = {letter: byte for byte, letter in _LETTERS.items()}
