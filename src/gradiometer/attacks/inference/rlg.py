"""RLG: revealing labels from the column space of the head's gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from gradiometer.core import Attack, Card, Guess, NotApplicable, Update
from gradiometer.numerics.labels import as_labels, llg, separable_classes

from .view import view_head


@dataclass(frozen=True, kw_only=True)
class RLG(Attack):
    """A class can be present only if the gradient's column space holds a vector negative at that class alone.

    It decides which classes are present, for batches smaller than the number of classes; how often each occurs is
    filled up by LLG's rule.

    Args:
        tolerance: singular values below this share of the largest count as zero.
    """

    card: ClassVar[Card] = Card(
        summary="Finds the classes of a batch by linear separability in the singular space of the head's gradient.",
        title="Revealing and Protecting Labels in Distributed Training",
        authors="Dang, Thakkar, Ramaswamy, Mathews, Chin, Beaufays",
        year=2021,
        arxiv="2111.00556",
        modality="any",
        family="labels",
        formula="c present iff some r has r . q_c < 0 <= r . q_j for all j != c, dW = Q S P^T",
        needs=("batch_size",),
        departs="a linear program for every class, without the perceptron before it; repeats are counted by LLG",
    )
    tolerance: float = 1e-5

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        seen = view_head(update)
        spectrum = torch.linalg.svdvals(seen.weight)
        rank = int((spectrum > self.tolerance * spectrum[0]).sum())
        limit = min(seen.classes - 1, seen.weight.shape[1])
        if rank >= limit:
            raise NotApplicable(
                f"the head's gradient has rank {rank}, and RLG tells classes apart only below {limit}",
                fix="use RowSum or ILRG, which do not depend on the rank",
            )
        present = torch.tensor(separable_classes(seen.weight, rank), dtype=torch.long)
        sums = seen.weight.sum(1)
        order = present[sums[present].argsort()]
        absent = torch.ones_like(sums, dtype=torch.bool)
        absent[present] = False
        impact = sums.clamp_max(0).sum() / seen.size * (1 + 1 / seen.classes)
        counts = llg(sums.masked_fill(absent, torch.inf) if len(present) else sums, impact, seen.size, order)
        return Guess(tensors={"y": as_labels(counts)}, notes={"rank": rank, "present": present.tolist()})
