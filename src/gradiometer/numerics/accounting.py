"""Accounting: what a Gaussian mechanism costs in (epsilon, delta), alone and over many subsampled steps."""

from __future__ import annotations

import math
from typing import Literal

import torch

from gradiometer.core import BadConfig, Unsupported

from .renyi import renyi_epsilon

Accountant = Literal["renyi", "pld"]
LITTLE_NOISE = 0.1


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


def composed_epsilon(
    noise_multiplier: float, *, rate: float = 1.0, steps: int = 1, delta: float = 1e-5, accountant: Accountant = "renyi"
) -> float:
    """Epsilon of `steps` Gaussian steps in which each example (or client) takes part with probability `rate`.

    Without subsampling the T steps are one Gaussian mechanism of ratio sqrt(T) / z, and epsilon is exact whatever the
    accountant. With it, `renyi` gives an upper bound and `pld` the figure itself, to its discretization (rounded up).
    Below z = 0.1 sampling earns next to nothing, and the figure without it is stated, an upper bound as well.

    Args:
        noise_multiplier: z, noise over sensitivity, >= 0; without noise epsilon is infinite.
        rate: q in (0, 1], of Poisson sampling. Drawing batches of a fixed size does not earn this amplification.
        steps: T >= 0.
        delta: in (0, 1).
        accountant: `pld` needs the extra `dp`.

    Raises:
        BadConfig: an argument out of its range.
        Unsupported: `pld` without dp-accounting.

    References:
        Koskela, Jälkö, Honkela, "Computing Tight Differential Privacy Guarantees Using FFT", 2019, arXiv:1906.03049.
    """
    problems = [] if noise_multiplier >= 0 else [f"noise_multiplier must be at least 0, got {noise_multiplier}"]
    problems += [] if 0 < rate <= 1 else [f"rate must lie in (0, 1], got {rate}"]
    problems += [] if 0 < delta < 1 else [f"delta must lie in (0, 1), got {delta}"]
    problems += [] if steps >= 0 else [f"steps must be at least 0, got {steps}"]
    if problems:
        raise BadConfig("epsilon cannot be computed", problems=problems)
    if steps == 0:
        return 0.0
    if noise_multiplier == 0:
        return math.inf
    everywhere = gaussian_epsilon(math.sqrt(steps) / noise_multiplier, delta)
    if rate == 1 or noise_multiplier < LITTLE_NOISE:
        return everywhere
    account = renyi_epsilon if accountant == "renyi" else _pld_epsilon
    return min(everywhere, account(noise_multiplier, rate, steps, delta))


def noise_for(epsilon: float, *, rate: float = 1.0, steps: int = 1, delta: float = 1e-5) -> float:
    """The least noise multiplier, to 1e-4 relative, whose `composed_epsilon` stays within `epsilon` > 0."""
    if not epsilon > 0:
        raise BadConfig(f"no finite noise gives epsilon {epsilon}", fix="ask for an epsilon above 0")

    def private(noise: float) -> bool:
        return composed_epsilon(noise, rate=rate, steps=steps, delta=delta) <= epsilon

    low, high = 0.0, 1.0
    while not private(high):
        low, high = high, 2 * high
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if private(middle) else (middle, high)
    return high


def _pld_epsilon(noise_multiplier: float, rate: float, steps: int, delta: float) -> float:
    try:
        from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
        from dp_accounting.pld import PLDAccountant
    except ImportError as error:
        raise Unsupported(
            "the accountant `pld` needs dp-accounting, which is not installed",
            fix='pip install "gradiometer[dp]", or take the accountant "renyi"',
        ) from error
    accountant = PLDAccountant()
    accountant.compose(PoissonSampledDpEvent(rate, GaussianDpEvent(noise_multiplier)), steps)
    return float(accountant.get_epsilon(delta))


def _log_phi(z: float) -> float:
    """Logarithm of the standard normal distribution function, exact far into the tail."""
    return float(torch.special.log_ndtr(torch.tensor(z, dtype=torch.float64)))
