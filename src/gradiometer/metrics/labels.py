"""Label metrics: a batch's labels are a multiset, for their order is nobody's knowledge."""

from __future__ import annotations

import torch
from torch import Tensor

from gradiometer.core import Data

from .card import MetricCard

label_overlap_card = MetricCard(
    summary="Share of labels that the guessed and the true multiset have in common.", leak="higher"
)


def label_overlap(guess: Tensor, truth: Tensor, classes: int) -> float:
    """`sum_c min(guessed_c, true_c) / max(n_guessed, n_true)`: superfluous labels cost as much as missing ones.

    Args:
        guess, truth: integer labels [m] and [n], in 0..classes-1; guesses outside count as wrong.
    """
    legal = guess[(guess >= 0) & (guess < classes)]
    counts = [torch.bincount(labels, minlength=classes) for labels in (legal, truth)]
    return torch.minimum(*counts).sum().item() / max(len(guess), len(truth))


def blind_labels(n: int, data: Data) -> list[Tensor]:
    """What somebody guesses without an update: n times the commonest public class, or n labels in public proportions.

    Without public labels, all classes count as equally common.
    """
    classes = data.layout["y"].classes or int(data.private["y"].max()) + 1
    known = data.public is not None and "y" in data.public
    counts = torch.bincount(data.public["y"], minlength=classes) if known else torch.ones(classes)  # type: ignore[index]
    share = n * counts.double() / counts.sum()
    # Largest remainders fill up what rounding down leaves.
    proportional = share.floor().long()
    rest = (share - share.floor()).argsort(descending=True, stable=True)[: n - int(proportional.sum())]
    proportional[rest] += 1
    return [counts.argmax().repeat(n), torch.arange(classes).repeat_interleave(proportional)]
