"""The label identity of softmax cross-entropy, dL/db_c = mean_i p_ic - n_c / B, and how counts are made of it."""

from __future__ import annotations

import torch
from torch import Tensor


def single_label(weight_gradient: Tensor, bias_gradient: Tensor | None, feature: Tensor | None = None) -> int:
    """The label of a batch of one: dL/db = p - onehot(y) is negative at y alone.

    Without a bias, row c of the weight gradient is (p_c - onehot_c) h: the row of the label points against all others.

    Args:
        weight_gradient: [classes, features]; bias_gradient: [classes], or None for a head without bias.
        feature: a typical input of the head [features]; it decides between two classes without bias, where
            opposite rows alone are ambiguous. None assumes features that are mostly positive.
    """
    if bias_gradient is not None:
        return int(bias_gradient.argmin())
    u, _, v = torch.linalg.svd(weight_gradient, full_matrices=False)
    side = u[:, 0] * torch.sign(v[0].sum() if feature is None else v[0] @ feature)
    if len(side) > 2 and abs(side.min()) < side.max():
        side = -side  # p - onehot has its largest entry at the label, and it is the negative one
    return int(side.argmin())


def largest_remainder(counts: Tensor, total: int) -> Tensor:
    """The nonnegative integers of sum `total` nearest to `counts` [classes] in squared error."""
    real = counts.clamp_min(0)
    whole = real.floor()
    while whole.sum() > total:
        whole[torch.where(whole > 0, real - whole, torch.inf).argmin()] -= 1
    while whole.sum() < total:
        whole[(real - whole).argmax()] += 1
    return whole.long()


def as_labels(counts: Tensor) -> Tensor:
    """The sorted multiset of labels [n] with these counts [classes]."""
    return torch.arange(len(counts)).repeat_interleave(counts)
