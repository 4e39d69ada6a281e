"""Bias gradients as checksums: which units' slopes are mended, and what a ReLU's output tells of its own error."""

from __future__ import annotations

import torch

from gradiometer.core import derive
from gradiometer.numerics.recursion.checksum import Units, check, units
from gradiometer.numerics.recursion.forward_known import Estimate, seen
from gradiometer.numerics.recursion.graph import Activation

CHANNELS, COUNT, STD = 32, 1024, 1e-5


RELU = Activation(
    apply=torch.relu,
    where="relu",
    slope=lambda u: (u > 0).double(),
    inverse=lambda u: u,
    invertible=lambda u: u > 0,
    kinked=True,
)


def closed_units() -> tuple[Units, torch.Tensor, torch.Tensor]:
    """A ReLU's units of equal expected error, half of them closed; all slopes, and the sums that these cause."""
    rng = derive(0)
    value = torch.randn(CHANNELS, COUNT, generator=rng, dtype=torch.float64).clamp_min(0)
    value = torch.where((value > 0) & (value < 1e-3), 1e-3, value)
    delta = 1e-4 * torch.randn(CHANNELS, COUNT, generator=rng, dtype=torch.float64)
    seen = value + STD * torch.randn(CHANNELS, COUNT, generator=rng, dtype=torch.float64)
    shape = (1, CHANNELS, 32, 32)
    found = units(RELU, seen.reshape(shape), torch.full(shape, STD, dtype=torch.float64), delta.reshape(shape))
    return found, (value > 0).double(), delta


def test_a_unit_is_found_that_no_value_points_out() -> None:
    """An open unit whose value drowns in its error costs as much as hundreds of closed ones: its sum alone tells it."""
    found, slopes, delta = closed_units()
    assert torch.equal(found.slope, slopes)
    rounding = 1e-9 * torch.randn(CHANNELS, generator=derive(1), dtype=torch.float64)
    hardest = found.price[3].argsort()[200]
    slopes[3, hardest] = 1.0
    result = check(found, (delta * slopes).sum(1) + rounding)
    assert torch.equal(result.flips.nonzero(), torch.tensor([[3, int(hardest)]]))
    assert result.doubtful == ()


def test_two_units_are_found_and_their_channel_is_in_doubt() -> None:
    found, slopes, delta = closed_units()
    rounding = 1e-9 * torch.randn(CHANNELS, generator=derive(1), dtype=torch.float64)
    first, second = found.price[5].argsort()[[0, 90]].tolist()
    slopes[5, [first, second]] = 1 - slopes[5, [first, second]]
    result = check(found, (delta * slopes).sum(1) + rounding)
    assert result.flips.nonzero()[:, 1].tolist() == sorted([first, second])
    assert result.doubtful == (5,)


def test_nothing_is_mended_by_units_that_are_not_in_doubt() -> None:
    found, slopes, delta = closed_units()
    sums = (delta * slopes).sum(1) + 1e-9 * torch.randn(CHANNELS, generator=derive(1), dtype=torch.float64)
    sums[7] += 0.5
    result = check(found, sums)
    assert not result.flips.any()
    assert result.doubtful == (7,)


def test_each_position_tells_its_own_error() -> None:
    rng = derive(2)
    expected = torch.ones(1, 1, 8, 8, dtype=torch.float64)
    expected[..., -1, -1] = 5
    value = torch.randn(2, 256, 8, 8, generator=rng, dtype=torch.float64).clamp_min(0)
    noisy = value + STD * expected * torch.randn(2, 256, 8, 8, generator=rng, dtype=torch.float64)
    told = seen(RELU, Estimate(value=noisy, deviation=torch.full_like(noisy, STD))).deviation / STD
    assert 3.5 < float(told[0, 0, -1, -1]) < 6.5
    assert float(told[:, :, :-1].min()) >= 1
    assert float(told[:, :, :-1].max()) < 1.35
