"""The TinyStories Llama of 260 thousand parameters: a language model that knows English a little, without any public data."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gradiometer.core import BadInput, Tokenizer, Update

from .prior import Sentence

WEIGHTS, PIECES = "tinystories_llama260k.npz", "tinystories_tok512.json"
BEGIN, END, BYTES = 1, 2, 3
"""Tokens that begin and end a story, and the first of 256 that stand for single bytes."""
ROWS, EPS = 128, 1e-5


@dataclass(frozen=True, kw_only=True)
class TinyStories:
    """How surprising a sentence reads, as text: the model has 512 tokens of its own.

    Args:
        tokenizer: of the victim, whose tokens become text.
        folder: of the two files; None: `weights` in the folder that GRADIOMETER_DATA names.

    References:
        Eldan, Li, TinyStories: How Small Can Language Models Be and Still Speak Coherent English?, 2023, arXiv:2305.07759.
        Touvron et al., LLaMA: Open and Efficient Foundation Language Models, 2023, arXiv:2302.13971.
    """

    tokenizer: Tokenizer
    folder: str | None = None

    def learned(self, update: Update) -> TinyLlama:
        """See `LanguagePrior.learned`.

        Raises:
            BadInput: the files are not there, or not of that form.
        """
        root = self.folder or os.path.join(os.environ.get("GRADIOMETER_DATA", "."), "weights")
        weights, pieces = Path(root, WEIGHTS), Path(root, PIECES)
        for path in (weights, pieces):
            if not path.is_file():
                raise BadInput(f"{path.name} is not there", fix="give TinyStories the folder, or set GRADIOMETER_DATA")
        try:
            with np.load(weights, allow_pickle=False) as stored:
                tensors = {name: torch.from_numpy(stored[name]) for name in stored.files}
            listed = json.loads(pieces.read_text(encoding="utf-8"))
            own = _Pieces(listed["pieces"], listed["scores"])
            return TinyLlama(tensors, own, self.tokenizer)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise BadInput(f"{weights.name} or {pieces.name} is not of its published form: {error}") from error


class TinyLlama:
    """The model at work; sentences are read in batches of equal length."""

    def __init__(self, tensors: Mapping[str, Tensor], pieces: _Pieces, tokenizer: Tokenizer) -> None:
        self._w, self._pieces, self._tokenizer = tensors, pieces, tokenizer
        _, _, depth, self._heads, self._groups, *_ = (int(v) for v in tensors["config"])
        self._depth = depth
        self._known: dict[tuple[str, bool], float] = {}

    def surprise(self, sentences: Sequence[Sentence], *, whole: bool = True) -> Tensor:
        """See `Language.surprise`."""
        texts = [(self._tokenizer.decode(list(one)).strip(), whole) for one in sentences]
        new = {key: self._pieces.encode(key[0]) for key in texts if key not in self._known}
        by_length: dict[int, list[tuple[str, bool]]] = {}
        for key, ids in new.items():
            by_length.setdefault(len(ids), []).append(key)
        for keys in by_length.values():
            for i in range(0, len(keys), ROWS):
                part = keys[i : i + ROWS]
                rows = torch.tensor([[BEGIN, *new[key], END] for key in part])
                self._known |= dict(zip(part, self._read(rows, whole).tolist()))
        return torch.tensor([self._known[key] for key in texts], dtype=torch.float64)

    @torch.no_grad()
    def _read(self, ids: Tensor, whole: bool) -> Tensor:
        """-log p of tokens 1, 2, ... [n, length] given those before, summed; the last only if it counts."""
        said = F.cross_entropy(self._logits(ids[:, :-1]).transpose(1, 2), ids[:, 1:], reduction="none")
        return (said if whole else said[:, :-1]).double().sum(1)

    def _logits(self, ids: Tensor) -> Tensor:
        w, length = self._w, ids.shape[1]
        x = w["tok_embeddings"][ids]
        turn = torch.complex(w["freq_cos"][:length], w["freq_sin"][:length])
        for i in range(self._depth):
            h = _normalized(x, w["attention_norm"][i])
            query = _turned((h @ w["wq"][i].T).unflatten(-1, (self._heads, -1)), turn)
            key = _turned((h @ w["wk"][i].T).unflatten(-1, (self._groups, -1)), turn)
            value = (h @ w["wv"][i].T).unflatten(-1, (self._groups, -1))
            key, value = (part.repeat_interleave(self._heads // self._groups, 2) for part in (key, value))
            query, key, value = (part.transpose(1, 2) for part in (query, key, value))
            seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
            x = x + seen.transpose(1, 2).flatten(2) @ w["wo"][i].T
            h = _normalized(x, w["ffn_norm"][i])
            x = x + (F.silu(h @ w["w1"][i].T) * (h @ w["w3"][i].T)) @ w["w2"][i].T
        return _normalized(x, w["norm"]) @ w["tok_embeddings"].T


def _normalized(x: Tensor, weight: Tensor) -> Tensor:
    return x * (x.square().mean(-1, keepdim=True) + EPS).rsqrt() * weight


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    """Rotary positions: neighboring entries [n, length, heads, 2 k] are complex numbers, turned by their place's angles."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turn[:, None]).flatten(-2)


class _Pieces:
    """Its tokenizer: characters, of which neighbors are joined as long as a pair is a piece, the best-scored first."""

    def __init__(self, pieces: Sequence[str], scores: Sequence[float]) -> None:
        self._ids, self._pieces, self._scores = {piece: i for i, piece in enumerate(pieces)}, pieces, scores

    def encode(self, text: str) -> list[int]:
        ids = [id_ for letter in f" {text}" for id_ in self._letter(letter)]
        while True:
            joined = [self._ids.get(self._pieces[a] + self._pieces[b], -1) for a, b in pairwise(ids)]
            best = max(
                (i for i, id_ in enumerate(joined) if id_ >= 0), key=lambda i: self._scores[joined[i]], default=-1
            )
            if best < 0:
                return ids
            ids[best : best + 2] = [joined[best]]

    def _letter(self, letter: str) -> list[int]:
        as_bytes = letter.encode()
        known = self._ids.get(as_bytes.decode("latin-1"))
        return [BYTES + byte for byte in as_bytes] if known is None else [known]
