"""A sum over clients is the gradient of a larger batch in which every example has a weight of its own.

    sum_k g_k = sum_b w_b grad loss(x_b),   r_b = w_b (p_b - y_b)

Recursion finds r_b, and p_b follows from the pictures: their ratio tells the weights, which nobody has to grant. In a sum of
mean gradients w_b is one over the batch size of the example's client, in their mean it is less by the number of clients:
1 / w_b is an integer either way. A client that clipped its gradient gives its examples a common weight of another kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradiometer.core import Batch, Loss

WHOLE = 1e-3
"""Distance from an integer up to which 1 / w_b is one."""


def weights(model: nn.Module, x: Tensor, labels: Tensor, residues: Tensor) -> Tensor:
    """w_b of every example [n], positive.

    Args:
        x: pictures [n, *shape]; residues: r_b [n, classes].
    """
    with torch.no_grad():
        difference = model(x).double().softmax(1)
    difference = difference - F.one_hot(labels, difference.shape[1])
    found = ((difference * residues).sum(1) / difference.square().sum(1).clamp_min(1e-300)).clamp_min(1e-12)
    count = (1 / found).round().clamp_min(1)
    return torch.where((1 / found - count).abs() < WHOLE, 1 / count, found)


def weighted(loss: Loss, shares: Tensor) -> Loss:
    """The loss of a batch in which every example counts with its share [n], given the mean loss of a batch."""

    def total(model: Callable[..., Any], batch: Batch) -> Tensor:
        single = torch.stack([loss(model, batch.take([i])) for i in range(batch.size)])
        return single @ shares.to(single)

    return total
