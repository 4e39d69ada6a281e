"""Noise: draws from a generator alone, and its size for a tensor."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def noise_scale(value: Tensor, std: float, relative: bool) -> Tensor:
    """The standard deviation of the noise on this tensor: `std`, or `std` times its root mean square."""
    one = value.new_tensor(std)
    return one * value.square().mean().sqrt() if relative else one


def laplace(like: Tensor, rng: torch.Generator) -> Tensor:
    """Laplace draws of scale 1 (variance 2), by inversion of the distribution function."""
    half = torch.rand(like.shape, generator=rng, dtype=torch.float64) - 0.5
    draws = -half.sign() * torch.log1p((-2 * half.abs()).clamp_min(-1 + 1e-16))
    return draws.to(device=like.device, dtype=like.dtype)


def discrete_gaussian(like: Tensor, std: float, rng: torch.Generator) -> Tensor:
    """Integer draws with P(k) ~ exp(-k^2 / (2 std^2)), by rejection from the discrete Laplace law.

    Exact up to the float64 arithmetic of the acceptance.

    Args:
        std: > 0.

    Returns:
        Whole numbers in float64, shaped as `like`.

    References:
        Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy", 2020, arXiv:2004.00010, algorithm 3.
    """
    scale = math.floor(std) + 1
    kept = torch.zeros(0, dtype=torch.float64)
    while len(kept) < like.numel():
        count = 2 * (like.numel() - len(kept)) + 16
        # The difference of two geometric draws is discrete Laplace: P(k) ~ exp(-|k| / scale).
        down, up = (-scale * torch.rand(2, count, generator=rng, dtype=torch.float64).log()).floor()
        draws = up - down
        chance = torch.exp(-((draws.abs() - std**2 / scale) ** 2) / (2 * std**2))
        kept = torch.cat([kept, draws[torch.rand(count, generator=rng, dtype=torch.float64) < chance]])
    return kept[: like.numel()].reshape(like.shape)
