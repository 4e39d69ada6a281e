"""Low rank in white noise: its size, what stands above it, and how far it turned what stands."""

from __future__ import annotations

import pytest
import torch

from gradiometer.core import derive
from gradiometer.numerics.spiked import above, deviation, turned

SHAPES = [(192, 64), (64, 192), (96, 96)]


def noisy(
    shape: tuple[int, int], rank: int, noise: float, strengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """A matrix of this rank, and its true right directions [rank, n]."""
    rng = derive(1, *shape)
    left = torch.linalg.qr(torch.randn(shape[0], rank, generator=rng, dtype=torch.float64)).Q
    right = torch.linalg.qr(torch.randn(shape[1], rank, generator=rng, dtype=torch.float64)).Q
    return left * strengths @ right.T + noise * torch.randn(*shape, generator=rng, dtype=torch.float64), right.T


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("noise", [1e-6, 1e-2])
def test_the_noise_and_the_rank_are_read_off_the_singular_values(shape: tuple[int, int], noise: float) -> None:
    matrix, _ = noisy(shape, 10, noise, 100 * noise * torch.logspace(0, 4, 10, dtype=torch.float64))
    values = torch.linalg.svdvals(matrix)
    assert deviation(values, shape) == pytest.approx(noise, rel=0.05)
    assert above(values, shape, noise) == 10


def test_what_is_not_white_has_no_deviation() -> None:
    assert deviation(torch.logspace(0, -9, 64, dtype=torch.float64), (192, 64)) is None
    assert deviation(torch.zeros(64, dtype=torch.float64), (192, 64)) is None


@pytest.mark.parametrize("shape", SHAPES)
def test_directions_are_turned_as_far_as_predicted(shape: tuple[int, int]) -> None:
    m, n = shape
    strengths = (m * n) ** 0.25 * torch.tensor([20.0, 6.0, 2.5], dtype=torch.float64)
    matrix, right = noisy(shape, 3, 1.0, strengths)
    _, values, found = torch.linalg.svd(matrix, full_matrices=False)
    sine = 1 - (found[:3] * right).sum(1).square()
    assert torch.allclose(turned(values[:3], shape), sine / (1 - sine), rtol=0.35)
