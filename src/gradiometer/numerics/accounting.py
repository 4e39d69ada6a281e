"""Accounting: what a Gaussian mechanism costs in (epsilon, delta)."""

from __future__ import annotations

import math

import torch


def gaussian_delta(epsilon: float, ratio: float) -> float:
    """The smallest delta for which the Gaussian mechanism is (epsilon, delta)-private.

    delta = Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu), with mu = sensitivity / std (theorem 8).

    Args:
        epsilon: >= 0.
        ratio: mu, > 0.

    References:
        Balle, Wang, "Improving the Gaussian Mechanism for Differential Privacy: Analytical Calibration and Optimal
        Denoising", 2018, arXiv:1805.06530.
    """
    upper, lower = _log_phi(ratio / 2 - epsilon / ratio), epsilon + _log_phi(-ratio / 2 - epsilon / ratio)
    # Both terms are nearly equal for a small ratio: the difference is taken of their logarithms.
    return max(0.0, -math.exp(upper) * math.expm1(lower - upper)) if lower < upper else 0.0


def gaussian_epsilon(ratio: float, delta: float) -> float:
    """The smallest epsilon at this delta, by bisection of `gaussian_delta`; infinite without noise.

    Args:
        ratio: sensitivity / std, >= 0; `math.inf` for no noise.
        delta: in (0, 1).
    """
    if ratio == 0:
        return 0.0
    if math.isinf(ratio):
        return math.inf
    if gaussian_delta(0.0, ratio) <= delta:
        return 0.0
    low, high = 0.0, 1.0
    while gaussian_delta(high, ratio) > delta:
        low, high = high, 2 * high
    while high - low > 1e-9 * max(1.0, high):
        middle = (low + high) / 2
        low, high = (low, middle) if gaussian_delta(middle, ratio) <= delta else (middle, high)
    return high


def _log_phi(z: float) -> float:
    """Logarithm of the standard normal distribution function, exact far into the tail."""
    return float(torch.special.log_ndtr(torch.tensor(z, dtype=torch.float64)))
