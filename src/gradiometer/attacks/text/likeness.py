"""How like the gradient of one sentence is to what a batch sent: the part of a language's order of words that the gradient has a say in."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from gradiometer.core import Batch, Update, clone_model
from gradiometer.numerics.embedding_tables import Tables

from .prefixes import Sentence

LEAST, SAME = 1e-7, 1e-4
"""Squared sine below which single precision tells nothing, and below which two gradients are the same in all but a few roundings."""


class Likeness:
    """Simulates sentences, one by one. Tables of the vocabulary are left out: they are large, and have told the words.

    Args:
        update: with its values decoded.
        classes: that a sentence can have; None where next tokens are predicted.
    """

    def __init__(self, update: Update, tables: Tables, classes: Sequence[int] | None) -> None:
        field = update.layout["input_ids"]
        self._length, self._loss = field.shape[0], update.need("loss")
        self._classes: list[int | None] = [None] if classes is None else [*classes]
        self._model = clone_model(update.need("model")).eval()
        for weight in self._model.parameters():
            weight.requires_grad_(weight.requires_grad and field.classes not in weight.shape)
        sent = update.as_gradient()
        trained = {name: weight for name, weight in self._model.named_parameters() if weight.requires_grad}
        names = [name for name in trained if name in sent and sent[name].any()]
        self._weights = [trained[name] for name in names]
        self._sent = [sent[name].to(trained[name]).flatten() for name in names]
        self._norms = torch.stack([one.norm() for one in self._sent])
        self._known: dict[Sentence, tuple[float, float, float, int | None]] = {}

    def sine(self, sentence: Sentence) -> float:
        """Logarithm of the squared sine of the angle to what was sent, the mean over tensors: 0 for nothing in common."""
        return self._told(sentence)[0]

    def same(self, sentence: Sentence) -> bool:
        """Whether nothing but rounding sets the two apart."""
        return self.sine(sentence) < math.log(SAME)

    def cosine(self, sentence: Sentence) -> float:
        """The cosine of that angle, the mean over tensors, in [-1, 1]."""
        return self._told(sentence)[1]

    def norm(self, sentence: Sentence) -> float:
        """Of the sentence's own gradient."""
        return self._told(sentence)[2]

    def batch(self, sentence: Sentence, y: int | None) -> Batch:
        """The sentence as a batch of one."""
        ids, mask = torch.zeros(2, 1, self._length, dtype=torch.long)
        ids[0, : len(sentence)], mask[0, : len(sentence)] = torch.tensor(sentence), 1
        one = Batch(input_ids=ids, attention_mask=mask)
        return one if y is None else one.replace(y=torch.tensor([y]))

    def label(self, sentence: Sentence) -> int | None:
        """The class with which the sentence is most like what was sent."""
        return self._told(sentence)[3]

    def _told(self, sentence: Sentence) -> tuple[float, float, float, int | None]:
        if sentence not in self._known:
            tried = [(*self._compared(sentence, y), y) for y in self._classes]
            self._known[sentence] = min(tried, key=lambda one: one[0])
        return self._known[sentence]

    def _compared(self, sentence: Sentence, y: int | None) -> tuple[float, float, float]:
        loss = self._loss(self._model, self.batch(sentence, y))
        own = [one.flatten() for one in torch.autograd.grad(loss, self._weights)]
        norms = torch.stack([one.norm() for one in own])
        shared = torch.stack([one @ other for one, other in zip(own, self._sent)])
        cosines = shared / (norms * self._norms).clamp_min(torch.finfo(norms.dtype).tiny)
        sines = (1 - cosines.clamp_min(0).square()).clamp_min(LEAST)
        return float(sines.log().mean()), float(cosines.mean()), float(norms.norm())
