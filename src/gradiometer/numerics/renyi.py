"""Rényi accounting of the Poisson-subsampled Gaussian mechanism: an upper bound that needs no optional library."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

ORDERS = (*(1 + x / 10 for x in range(1, 100)), *map(float, range(11, 64)), *(2.0**k for k in range(6, 11)))
"""Rényi orders that are tried; the best one gives epsilon."""


def renyi_divergence(noise_multiplier: float, rate: float, orders: Sequence[float]) -> Tensor:
    """Rényi divergence of one step, at each order.

    D_a = log E_{x ~ N(0, z^2)} [(1 - q + q exp((2x - 1) / (2 z^2)))^a] / (a - 1), which is a / (2 z^2) for q = 1. The
    expectation is taken by the trapezoid rule, which converges exponentially for such integrands; any real order is
    as good as a whole one.

    Args:
        noise_multiplier: z, noise over the sensitivity to adding or removing one example; > 0.
        rate: q, probability with which an example takes part in the step, in (0, 1].
        orders: a > 1.

    Returns:
        [orders], float64.

    References:
        Mironov, Talwar, Zhang, "Rényi Differential Privacy of the Sampled Gaussian Mechanism", 2019, arXiv:1908.10530.
    """
    alphas = torch.tensor(orders, dtype=torch.float64)
    if rate == 1:
        return alphas / (2 * noise_multiplier**2)
    return torch.stack([_log_moment(noise_multiplier, rate, float(a)) / (a - 1) for a in alphas])


def _log_moment(z: float, rate: float, order: float) -> Tensor:
    # The integrand is a mixture of bells of width z, centered between 0 and the order.
    step, reach = z / 16, 14 * z
    x = torch.arange(-reach, order + reach, step, dtype=torch.float64)
    log_ratio = torch.logaddexp(torch.full_like(x, math.log1p(-rate)), math.log(rate) + (2 * x - 1) / (2 * z**2))
    log_density = -x.square() / (2 * z**2) - math.log(z * math.sqrt(2 * math.pi))
    return torch.logsumexp(order * log_ratio + log_density, 0) + math.log(step)


def renyi_epsilon(
    noise_multiplier: float, rate: float, steps: int, delta: float, orders: Sequence[float] = ORDERS
) -> float:
    """An upper bound of epsilon for `steps` steps.

    epsilon = min over a of T D_a + log((a - 1) / a) - (log delta + log a) / (a - 1).

    Args:
        noise_multiplier, rate: as for `renyi_divergence`.
        steps: T >= 1.
        delta: in (0, 1).
        orders: among which the best is taken.

    References:
        The conversion: Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy", 2020,
        arXiv:2004.00010, proposition 12.
    """
    alphas = torch.tensor(orders, dtype=torch.float64)
    spent = steps * renyi_divergence(noise_multiplier, rate, orders)
    epsilons = spent + torch.log1p(-1 / alphas) - (math.log(delta) + alphas.log()) / (alphas - 1)
    return max(0.0, float(epsilons.min()))
