"""Counting labels in the gradient of a softmax head: rounding, and the published rules as pure functions.

Cross-entropy gives `dL/db_c = mean_i p_ic - n_c / B` and `dL/dW_c = mean_i (p_ic - [y_i = c]) h_i`, exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .fit import fit


def single_label(weight_gradient: Tensor, bias_gradient: Tensor | None) -> int:
    """The label of a batch of one. dL/db = p - onehot(y) is negative at y alone.

    Without a bias, row c of the weight gradient is (p_c - onehot_c) h, and since these factors sum to zero the row of
    the label is the longest. Only where another row is as long (two classes) must the features be taken as positive.

    Args:
        weight_gradient: [classes, features]; bias_gradient: [classes], or None.
    """
    if bias_gradient is not None:
        return int(bias_gradient.argmin())
    length = weight_gradient.norm(dim=1)
    longest = length > (1 - 1e-3) * length.max()
    return int(torch.where(longest, weight_gradient.sum(1), torch.inf).argmin())


def largest_remainder(counts: Tensor, total: int) -> Tensor:
    """The nonnegative integers of sum `total` nearest to `counts` [classes] in squared error."""
    real = counts.clamp(0, total)
    whole = real.floor()
    while whole.sum() > total:
        whole[torch.where(whole > 0, real - whole, torch.inf).argmin()] -= 1
    while whole.sum() < total:
        whole[(real - whole).argmax()] += 1
    return whole.long()


def as_labels(counts: Tensor) -> Tensor:
    """The sorted multiset of labels [n] with these counts [classes]."""
    return torch.arange(len(counts)).repeat_interleave(counts)


def mean_embedding(weight_gradient: Tensor, bias_gradient: Tensor, counts: Tensor) -> Tensor:
    """The batch's mean head input, estimated from the gradient alone: the class embeddings dW_c / db_c, averaged.

    To first order B dW_c = p_c sum_i h_i - sum_{y_i = c} h_i, whose last term has a variance proportional to n_c. The
    weights db_c^2 / n_c are the inverse variances of the embeddings: absent classes show the mean exactly.

    Returns:
        [features].
    """
    trust = bias_gradient / (counts.clamp_min(0) + 0.3)
    return trust @ weight_gradient / (trust @ bias_gradient).clamp_min(1e-30)


def ilrg(
    weight_gradient: Tensor, bias_gradient: Tensor, weight: Tensor, bias: Tensor, size: int, refinements: int = 20
) -> Tensor:
    """Solves `sum_k n_k (P_kc - [k = c]) = B db_c, sum_k n_k = B` with P_k = softmax(W e_k + b), e_k = dW_k / db_k.

    The embeddings e_k mix classes wherever p is not small. Each refinement unmixes them: the sums of head inputs a
    class are `sum_k n_k P_kc m_k - B dW_c`, from which follow new class means m_k, new P, and new counts.

    Args:
        weight_gradient, weight: [classes, features]; bias_gradient, bias: [classes].
        refinements: 0 is the published method.

    Returns:
        Real-valued counts [classes] of sum `size`.
    """
    classes = len(bias)
    unit = torch.eye(classes, dtype=bias.dtype)
    safe = torch.where(bias_gradient.abs() < 1e-12, torch.full_like(bias_gradient, 1e-12), bias_gradient)

    def solve(chances: Tensor) -> Tensor:
        system = torch.cat([torch.full((1, classes), float(size), dtype=bias.dtype), chances.T - unit])
        target = torch.cat([torch.full((1,), float(size) ** 2, dtype=bias.dtype), size * bias_gradient])
        return fit(system, target)

    counts = solve((weight_gradient / safe[:, None] @ weight.T + bias).softmax(1))
    for _ in range(refinements):
        present = counts.clamp_min(0)
        mean = mean_embedding(weight_gradient, bias_gradient, present)
        embeddings = mean.expand(classes, -1)
        for _ in range(3):
            chances = (embeddings @ weight.T + bias).softmax(1)
            sums = (present[:, None] * chances).T @ embeddings - size * weight_gradient
            embeddings = (sums + mean) / (present + 1)[:, None]
        counts = (present + solve((embeddings @ weight.T + bias).softmax(1)).clamp_min(0)) / 2
        counts = counts * size / counts.sum().clamp_min(1e-30)
    return counts


def llg(row_sums: Tensor, impact: Tensor, size: int, start: Tensor) -> Tensor:
    """LLG's loop: with the classes of `start` emitted, emits the class of the smallest row sum until there are `size`.

    Args:
        row_sums: sum_j dW_cj [classes], offsets already subtracted.
        impact: by how much one example lowers the row sum of its class; negative.
        start: classes known to be present [k].

    Returns:
        Counts [classes].
    """
    counts = torch.zeros(len(row_sums), dtype=torch.long)
    left = row_sums.clone()
    for label in start[:size].tolist():
        counts[label] += 1
        left[label] -= impact
    for _ in range(size - int(counts.sum())):
        label = int(left.argmin())
        counts[label] += 1
        left[label] -= impact
    return counts


def separable_classes(weight_gradient: Tensor, rank: int) -> list[int]:
    """RLG's test: class c can be present only if one vector of the column space is negative at c and nowhere else.

    Every p_i - onehot(y_i) is such a vector while the examples' head inputs are independent. A linear program a class.
    """
    from scipy.optimize import linprog

    space = torch.linalg.svd(weight_gradient, full_matrices=False)[0][:, :rank].numpy()
    present = []
    for label in range(len(space)):
        signs = -space.copy()
        signs[label] *= -1
        bound = [0.0] * len(space)
        bound[label] = -1.0
        found = linprog([0.0] * rank, A_ub=signs, b_ub=bound, bounds=(None, None), method="highs")
        if found.status == 0:
            present.append(label)
    return present
