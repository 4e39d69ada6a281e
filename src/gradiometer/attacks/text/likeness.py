"""How like the gradients of a sentence's own words are to the rows that a batch sent for these words."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gradiometer.core import Batch, Update, clone_model
from gradiometer.numerics.embedding_tables import Tables

from .prefixes import Sentence

LEAST, SAME = 1e-12, 1e-8
"""Squared sine below which a single-precision client's rounding lies, and below which two sentences cannot be told apart."""


class Likeness:
    """Compares rows of the token embedding's gradient: that of a word which one sentence of the batch holds is all this sentence's.

    Args:
        update: with its values decoded.
        classes: that a sentence can have; None where next tokens are predicted.
    """

    def __init__(self, update: Update, tables: Tables, classes: Sequence[int] | None) -> None:
        self._length, self._loss = update.layout["input_ids"].shape[0], update.need("loss")
        self._classes: list[int | None] = [None] if classes is None else [*classes]
        self._model = clone_model(update.need("model")).eval().requires_grad_(False)
        self._rows = update.as_gradient()[f"{tables.tokens}.weight"]
        self._seen: list[Tensor] = []
        self._model.get_submodule(tables.tokens).register_forward_hook(self._look)
        self._known: dict[Sentence, tuple[float, float, int | None]] = {}

    def sines(self, sentences: Sequence[Sentence]) -> list[float]:
        """Logarithm of the squared sine of the angle between both rows of a word, the mean over words: 0 for nothing in common."""
        new = [one for one in dict.fromkeys(sentences) if one not in self._known]
        if new:
            told = [[(*one, y) for one in self._compared(new, y)] for y in self._classes]
            self._known |= {one: min(tried) for one, tried in zip(new, zip(*told))}
        return [self._known[one][0] for one in sentences]

    def same(self, sentence: Sentence) -> bool:
        """Whether nothing but rounding sets the two apart."""
        return self.sines([sentence])[0] < math.log(SAME)

    def label(self, sentence: Sentence) -> int | None:
        """The class with which the sentence is most like what was sent."""
        self.sines([sentence])
        return self._known[sentence][2]

    def norm(self, sentence: Sentence) -> float:
        """Of the gradient that the sentence has by its own."""
        self.sines([sentence])
        return self._known[sentence][1]

    def batch(self, sentences: Sequence[Sentence], y: Sequence[int | None]) -> Batch:
        """The sentences as a batch."""
        ids, mask = torch.zeros(2, len(sentences), self._length, dtype=torch.long)
        for row, one in enumerate(sentences):
            ids[row, : len(one)], mask[row, : len(one)] = torch.tensor(one), 1
        batch = Batch(input_ids=ids, attention_mask=mask)
        return batch if None in y else batch.replace(y=torch.tensor(y))

    def _look(self, _: nn.Module, inputs: object, output: Tensor) -> Tensor:
        self._seen[:] = [output.requires_grad_()]
        return self._seen[0]

    def _compared(self, sentences: Sequence[Sentence], y: int | None) -> list[tuple[float, float]]:
        batch = self.batch(sentences, [y] * len(sentences))
        # The loss is a mean: other sentences beside one change the length of its gradient, and not its direction.
        loss = self._loss(self._model, batch)
        found = torch.autograd.grad(loss, self._seen[0])[0].double()
        ids, there = batch["input_ids"], batch["attention_mask"].double()
        same = (ids[:, :, None] == ids[:, None]) * there[:, None]
        own, sent = same @ found, self._rows[ids].to(found)
        size = own.norm(dim=2) * sent.norm(dim=2)
        cosines = (own * sent).sum(2) / size.clamp_min(torch.finfo(found.dtype).tiny)
        told = (1 - cosines.clamp_min(0).square()).clamp_min(LEAST).log() * there
        norms = len(sentences) * (found * there[:, :, None]).flatten(1).norm(dim=1)
        return [*zip((told.sum(1) / there.sum(1)).tolist(), norms.tolist())]
