"""One-to-one assignment of guesses to truths: no truth is claimed twice, no guess counts twice."""

from __future__ import annotations

import torch
from torch import Tensor


def assign(cost: Tensor) -> list[tuple[int, int]]:
    """The pairs (row, column) of least total cost (the Hungarian problem), in order of rows.

    Args:
        cost: [rows, columns], any sizes; a pair whose cost is not finite is never made.

    Returns:
        min(rows, columns) pairs, or fewer where forbidden pairs leave no choice. As many pairs as possible come first,
        least cost second.

    References:
        Kuhn, The Hungarian Method for the Assignment Problem, 1955; solved by scipy.optimize.linear_sum_assignment.
    """
    from scipy.optimize import linear_sum_assignment

    value = cost.detach().to("cpu", torch.float64)
    allowed = value.isfinite()
    if not allowed.any():
        return []
    # A forbidden pair costs more than any number of allowed ones.
    span = value[allowed].max() - value[allowed].min()
    forbidden = value[allowed].max() + (span + 1) * (min(value.shape) + 1)
    rows, columns = linear_sum_assignment(torch.where(allowed, value, forbidden).numpy())
    return [(int(row), int(column)) for row, column in zip(rows, columns) if allowed[row, column]]
