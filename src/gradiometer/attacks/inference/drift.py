"""Local training on a guess of the labels: how far the head's movement is from that of its first step."""

from __future__ import annotations

import torch
from torch import Tensor

from gradiometer.core import Batch, Update, simulate
from gradiometer.numerics.labels import as_labels

from .reference import Others
from .view import HeadView, view_head


def simulated_heads(update: Update, others: Others, counts: Tensor, draws: int, rng: torch.Generator) -> list[HeadView]:
    """Follows the client's recipe on batches of other examples with these label counts, `draws` times."""
    found = []
    for _ in range(draws):
        batch = _draw(others, counts, rng)
        sent = simulate(update.need("model"), update.need("loss"), update.need("recipe"), batch, rng=rng)
        found.append(view_head(update.replace(values=sent.values, clients=1)))
    return found


def _draw(others: Others, counts: Tensor, rng: torch.Generator) -> Batch:
    rows = []
    for label, count in enumerate(counts.tolist()):
        fitting = torch.arange(0) if others.labels is None else (others.labels == label).nonzero()[:, 0]
        fitting = fitting if len(fitting) else torch.arange(others.examples.size)
        rows.append(fitting[torch.randint(len(fitting), (count,), generator=rng)])
    order = torch.randperm(int(counts.sum()), generator=rng)
    return others.examples.take(torch.cat(rows)[order]).replace(y=as_labels(counts)[order])
