"""A matrix of low rank in white noise: how much noise there is, which directions stand above it, and how far it turned them.

The singular values of an m x n matrix of noise N(0, 1) fill `[|sqrt m - sqrt n|, sqrt m + sqrt n]` (Marchenko and Pastur). A direction of
strength theta stands above them from theta^4 = m n on.

References:
    Benaych-Georges, Nadakuditi, "The singular values and vectors of low rank perturbations of large rectangular random matrices",
    2012, arXiv:1103.2221.
"""

from __future__ import annotations

import torch
from torch import Tensor

TURNS, POINTS = 4, 2000
WHITE = 0.1
"""How far quartiles of the singular values may be from those of white noise, relative to the middle one."""
SURE = 4.0
"""Standard deviations by which the largest singular value of noise is exceeded."""


def deviation(values: Tensor, shape: tuple[int, int]) -> float | None:
    """Standard deviation of an entry's noise, as the singular values [min(m, n)] of a matrix of this shape tell it.

    Returns:
        None where what lies behind the strong ones is not white noise.
    """
    strong, found = 0, 0.0
    for _ in range(TURNS):
        weak, left = values[strong:], (shape[0] - strong, shape[1] - strong)
        if min(left) < 8 or float(weak[0]) <= 0:
            return None
        quartiles = _quartiles(left)
        told = weak.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=weak.dtype))
        found = float(told[1] / quartiles[1])
        before, strong = strong, above(values, shape, found)
        if strong == before:
            break
    white = bool(((told / found - quartiles).abs() < WHITE * quartiles[1]).all())
    return found if white else None


def above(values: Tensor, shape: tuple[int, int], noise: float) -> int:
    """How many falling singular values stand above noise of this standard deviation an entry."""
    m, n = (size**0.5 for size in shape)
    top = m + n
    # The largest value of noise spreads by the law of Tracy and Widom.
    spread = (1 / m + 1 / n) ** (1 / 3) / 2
    return int((values > noise * (top + SURE * spread)).sum())


def turned(values: Tensor, shape: tuple[int, int]) -> Tensor:
    """Squared tangent of the angle by which unit noise turned each right singular vector of a matrix of this shape [m, n].

    With `theta^2 = (s^2 - m - n + sqrt((s^2 - m - n)^2 - 4 m n)) / 2` the squared sine is `n (theta^2 + m) / (theta^2 (theta^2 + n))`,
    which is n / s^2 far above the noise.

    Args:
        values: singular values in units of the noise, above `sqrt m + sqrt n`.
    """
    m, n = shape
    rest = values.square() - m - n
    strength = (rest + (rest.square() - 4 * m * n).clamp_min(0).sqrt()) / 2
    sine = (n * (strength + m) / (strength * (strength + n))).clamp_max(1 - 1e-3)
    return sine / (1 - sine)


def _quartiles(shape: tuple[int, int]) -> Tensor:
    """Quartiles of the singular values of unit noise: their density is sqrt((b^2 - s^2) (s^2 - a^2)) / s on [a, b]."""
    m, n = (size**0.5 for size in shape)
    a, b = abs(m - n), m + n
    s = a + (b - a) * (torch.arange(POINTS, dtype=torch.float64) + 0.5) / POINTS
    share = (((b**2 - s.square()) * (s.square() - a**2)).clamp_min(0).sqrt() / s).cumsum(0)
    at = torch.searchsorted(share, share[-1] * torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    return s[at]
