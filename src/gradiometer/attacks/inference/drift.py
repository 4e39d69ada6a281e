"""Local training on a guess of the labels: how far the head's movement is from what a sum over examples predicts."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gradiometer.core import Update, simulate
from gradiometer.numerics.counting import Reference
from gradiometer.numerics.labels import as_labels

from .reference import Directions, Others
from .view import view_head


def simulated_drift(
    update: Update,
    others: Others,
    like: Reference,
    along: Directions,
    counts: Tensor,
    rng: torch.Generator,
    draws: int = 2,
) -> Tensor:
    """Mean of (simulated signal - sum of the same examples' statistics), [classes, directions].

    Follows the client's recipe on batches of other examples with these label counts. Taking the difference on the same
    examples leaves the drift alone: that one batch is not like another cancels.
    """
    drift = torch.zeros_like(like.answers[0])
    for _ in range(draws):
        rows, labels = _draw(others.labels, len(like.inputs), counts, rng)
        batch = others.examples.take(rows).replace(y=labels)
        sent = simulate(update.need("model"), update.need("loss"), update.need("recipe"), batch, rng=rng)
        signal = along.signal(view_head(update.replace(values=sent.values, clients=1)))
        own = F.one_hot(labels, len(counts)).to(drift.dtype)[:, :, None] * like.inputs[rows][:, None, :]
        drift = drift + (signal - (like.answers[rows] - own).sum(0)) / draws
    return drift


def _draw(labels: Tensor | None, most: int, counts: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows of other examples and their labels: of the same class where labels are known, any otherwise."""
    rows = []
    for label, count in enumerate(counts.tolist()):
        fitting = torch.arange(0) if labels is None else (labels[:most] == label).nonzero()[:, 0]
        fitting = fitting if len(fitting) else torch.arange(most)
        rows.append(fitting[torch.randint(len(fitting), (count,), generator=rng)])
    order = torch.randperm(int(counts.sum()), generator=rng)
    return torch.cat(rows)[order], as_labels(counts)[order]
