"""Picture metrics, always on pixels in [0,1]."""

from __future__ import annotations

from torch import Tensor


def mse(guess: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error of every picture; both [n, channels, height, width] in [0,1]. Returns [n]."""
    return (guess - truth).square().flatten(1).mean(1)


def psnr(guess: Tensor, truth: Tensor, *, cap: float = 160.0) -> Tensor:
    """Peak signal-to-noise ratio in dB of every picture, data range 1, capped. Returns [n]."""
    return (-10 * mse(guess, truth).clamp_min(10 ** (-cap / 10)).log10()).clamp_max(cap)
