"""LLG and LLG+: label leakage from the row sums of the head's weight gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gradiometer.core import Attack, Card, Guess, Update
from gradiometer.numerics.labels import as_labels, llg

from .reference import Passage, other_examples, passages
from .view import view_head

_CARD = Card(
    summary="Counts labels by the row sums of the head's weight gradient, without data.",
    title="User-Level Label Leakage from Gradients in Federated Learning",
    authors="Wainakh, Ventola, Muessig, Keim, Garcia Cordero, Zimmer, Grube, Kersting, Muehlhaeuser",
    year=2021,
    arxiv="2105.09369",
    modality="any",
    family="labels",
    formula="g_c = sum_j dW_cj; m = (1 + 1/C) / B * sum of negative g_c",
    needs=("batch_size",),
)


@dataclass(frozen=True, kw_only=True)
class LLG(Attack):
    """Needs no data and no model: with nonnegative features, a negative row sum proves that its class is present.

    Every further example is assigned to the class of the smallest row sum, which then rises by the impact of one
    example, `m = (1 + 1/C) / B * sum_{g_c < 0} g_c`.
    """

    card: ClassVar[Card] = _CARD

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        seen = view_head(update)
        sums = seen.weight.sum(1)
        impact = sums.clamp_max(0).sum() / seen.size * (1 + 1 / seen.classes)
        counts = llg(sums, impact, seen.size, _negative(sums))
        return Guess(tensors={"y": as_labels(counts)})


@dataclass(frozen=True, kw_only=True)
class LLGPlus(Attack):
    """LLG with impact and offsets measured on other inputs: `m` from their own class, `s_c` from all others.

    Args:
        source: `public` examples with labels (LLG+), or `dummy` noise that stands for every class (LLG*).
        examples: how many of them at most.
    """

    card: ClassVar[Card] = replace(
        _CARD,
        summary="LLG with the impact of one example and the offset of each class measured on other inputs.",
        formula="m = (1 + 1/C) / B * mean_k E[g_k | y = k]; s_c = E[g_c | y != c]",
        needs=("model", "batch_size", "public"),
        departs="expectations over all examples instead of ten random batches a class",
    )
    source: Literal["public", "dummy"] = "public"
    examples: int = 1024

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        seen = view_head(update)
        others = other_examples(update, self.source, self.examples, rng)
        found = [_calibrate(shown, others.labels) for shown in passages(update, seen, others, rng)]
        impact = torch.stack([m for m, _ in found]).mean() / seen.size * (1 + 1 / seen.classes)
        offset = torch.stack([s for _, s in found]).mean(0)
        sums = seen.weight.sum(1)
        counts = llg(sums - offset, impact, seen.size, _negative(sums))
        return Guess(tensors={"y": as_labels(counts)}, notes={"source": others.source})


def _negative(sums: Tensor) -> Tensor:
    """Classes of negative row sum, the most negative first."""
    order = sums.argsort()
    return order[sums[order] < 0]


def _calibrate(shown: Passage, labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean row sum of an example's own class [], and of every class over examples of other classes [classes]."""
    strength = shown.inputs.sum(1, keepdim=True)
    answers = shown.answers * strength
    if labels is None:
        return (answers - strength).mean(), answers.mean(0)
    own = torch.zeros_like(answers, dtype=torch.bool)
    own[torch.arange(len(answers)), labels[: len(answers)]] = True
    offset = answers.masked_fill(own, 0).sum(0) / (~own).sum(0).clamp_min(1)
    each = torch.stack([(answers - strength)[own[:, c], c].mean() for c in own.any(0).nonzero()[:, 0].tolist()])
    return each.mean(), offset
