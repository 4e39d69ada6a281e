"""Picture metrics, always on pixels in [0,1]."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gradiometer.core import Field

from .card import MetricCard

PSNR_CAP = 160.0


def pixels(value: Tensor, field: Field) -> Tensor:
    """From what the model takes to pixels in [0,1], float64: denormalized, clamped to the legal range, scaled.

    Metrics on normalized tensors are not comparable to anything; here is the only way into this file.
    """
    natural = field.denormalize(value.detach().double()).clamp(field.low, field.high)
    return (natural - field.low) / (field.high - field.low)


def mse(guess: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error of every picture; both [n, channels, height, width] in [0,1]. Returns [n]."""
    return (guess - truth).square().flatten(1).mean(1)


def psnr(guess: Tensor, truth: Tensor, *, cap: float = PSNR_CAP) -> Tensor:
    """Peak signal-to-noise ratio in dB of every picture, data range 1, capped. Returns [n]."""
    return (-10 * mse(guess, truth).clamp_min(10 ** (-cap / 10)).log10()).clamp_max(cap)


def ssim(guess: Tensor, truth: Tensor, *, window: int = 11) -> Tensor:
    """Structural similarity of every picture, data range 1: the mean over channels and window positions of

        (2 m_a m_b + c1) (2 s_ab + c2) / ((m_a² + m_b² + c1) (s_a² + s_b² + c2)),   c1 = .01², c2 = .03²

    with means, variances and covariance under a Gaussian window of `window` pixels and sigma 1.5.

    Args:
        guess, truth: [n, channels, height, width] in [0,1].
        window: odd. A picture smaller than it gets the largest odd window that fits, with sigma in proportion
            (8 x 8 pixels: window 7, sigma 0.95); figures at different windows are not comparable.

    Returns:
        [n], in [-1, 1]; 1 for equal pictures.

    References:
        Wang, Bovik, Sheikh, Simoncelli, Image quality assessment: from error visibility to structural similarity, 2004.
    """
    side = min(*truth.shape[-2:], window)
    side -= 1 - side % 2
    sigma, offset = 1.5 * side / window, torch.arange(side, dtype=truth.dtype, device=truth.device) - side // 2
    line = torch.exp(-0.5 * (offset / sigma) ** 2)
    line = line / line.sum()

    def blur(picture: Tensor) -> Tensor:
        planes = picture.flatten(0, 1)[:, None]
        return F.conv2d(F.conv2d(planes, line.view(1, 1, 1, -1)), line.view(1, 1, -1, 1)).unflatten(
            0, picture.shape[:2]
        )

    mean_a, mean_b = blur(guess), blur(truth)
    var_a, var_b = blur(guess * guess) - mean_a**2, blur(truth * truth) - mean_b**2
    covariance = blur(guess * truth) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    similar = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return (similar / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).flatten(1).mean(1)


mse_card = MetricCard(summary="Mean squared error of pixels in [0,1].", leak="lower")
psnr_card = MetricCard(
    summary="Peak signal-to-noise ratio of pixels in [0,1].", leak="higher", unit="dB", high=PSNR_CAP
)
ssim_card = MetricCard(
    summary="Structural similarity of pixels in [0,1], Gaussian window of 11 pixels.",
    leak="higher",
    low=-1.0,
    source="Wang, Bovik, Sheikh, Simoncelli, 2004",
)
