"""Fixed point: unbiased, within a step, and symmetric about a zero that is exact."""

from __future__ import annotations

import pytest
import torch

from gradiometer.core import derive
from gradiometer.numerics.fixed_point import FixedPoint


@pytest.mark.parametrize("bits", [2, 8, 16, 32])
def test_within_one_step_and_in_range(bits):
    grid = FixedPoint(clip=0.5, bits=bits)
    values = torch.linspace(-0.5, 0.5, 10_001, dtype=torch.float64)
    integers = grid.encode(values, derive(0))
    assert integers.abs().max() == grid.levels
    assert (grid.decode(integers) - values).abs().max() < grid.step * (1 + 1e-9)


def test_the_mean_is_the_value():
    grid = FixedPoint(clip=1.0, bits=4)
    mean = grid.decode(grid.encode(torch.full((200_000,), 0.3), derive(1))).mean()
    assert mean == pytest.approx(0.3, abs=5 * grid.step / 2 / 200_000**0.5)


def test_ends_and_zero_are_exact_and_outliers_are_clipped():
    grid = FixedPoint(clip=2.0, bits=9)
    values = torch.tensor([0.0, 2.0, -2.0, 7.0, -1e30])
    assert grid.encode(values, derive(2)).tolist() == [0, 255, -255, 255, -255]
