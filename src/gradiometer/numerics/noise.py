"""Noise: draws from a generator alone, and its size for a tensor."""

from __future__ import annotations

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
