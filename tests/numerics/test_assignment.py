"""Assignment against brute force."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradiometer.numerics.assignment import assign


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 1000))
def test_least_total_cost(rows, columns, seed):
    cost = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed))
    pairs = assign(cost)
    assert len(pairs) == min(rows, columns)
    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
    tall = cost if rows <= columns else cost.T
    best = min(
        sum(tall[i, j].item() for i, j in enumerate(order)) for order in permutations(range(tall.shape[1]), len(tall))
    )
    assert sum(cost[pair].item() for pair in pairs) == pytest.approx(best)


def test_one_truth_is_never_claimed_twice():
    # Both guesses are nearest to truth 0: a nearest-truth rule would count it twice.
    assert assign(torch.tensor([[0.1, 5.0], [0.2, 0.9]])) == [(0, 0), (1, 1)]


def test_forbidden_pairs():
    nan, inf = float("nan"), float("inf")
    assert assign(torch.tensor([[nan, 9.0], [1.0, inf]])) == [(0, 1), (1, 0)]
    assert assign(torch.tensor([[nan, nan], [1.0, 2.0]])) == [(1, 0)]
    assert assign(torch.tensor([[1.0, inf], [50.0, inf]])) == [(0, 0)]
    assert assign(torch.full((2, 2), inf)) == []
    assert assign(torch.zeros(0, 3)) == []
