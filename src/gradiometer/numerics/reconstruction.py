"""How likely a private example can be reconstructed at all, from differential privacy: upper bounds for any attack."""

from __future__ import annotations

import math
from statistics import NormalDist

import torch

from gradiometer.core import BadConfig


def reconstruction_bound(prior: float, noise_multiplier: float, steps: int = 1) -> float:
    """Greatest probability of reconstruction from T full-batch Gaussian steps.

    gamma = Phi(Phi^-1(kappa) + sqrt(T) / z): no test whose false-alarm rate is kappa finds more.

    Args:
        prior: kappa, chance that the best guess made without the updates succeeds, in (0, 1).
        noise_multiplier: z, noise over the sensitivity to one example's presence; 0 gives 1.
        steps: T >= 0.

    References:
        Balle, Cherubin, Hayes, "Reconstructing Training Data with Informed Adversaries", 2022, arXiv:2201.04845.
        Hayes, Mahloujifar, Balle, "Bounding Training Data Reconstruction in DP-SGD", 2023, arXiv:2302.07225.
    """
    _check(prior, noise_multiplier, 1.0, steps)
    if noise_multiplier == 0:
        return 1.0 if steps else prior
    normal = NormalDist()
    return normal.cdf(normal.inv_cdf(prior) + math.sqrt(steps) / noise_multiplier)


def sampled_reconstruction_bound(
    prior: float, noise_multiplier: float, rate: float, steps: int, *, rng: torch.Generator, draws: int = 100_000
) -> float:
    """The bound where the example takes part in each step with probability `rate` only, by simulation.

    gamma = nu(E) for the likelihood-ratio event E of mu(E) = kappa, with mu = N(0, z^2)^T and nu a product of mixtures
    (1 - q) N(0, z^2) + q N(1, z^2). Its standard error is at most 1 / (2 sqrt(kappa draws)) of gamma's slope; take many
    more draws than 1 / kappa.

    Args:
        prior, noise_multiplier, steps: as for `reconstruction_bound`; z > 0.
        rate: q in (0, 1].
        draws: of each law.

    References:
        Hayes, Mahloujifar, Balle, 2023, arXiv:2302.07225, algorithm 1.
    """
    _check(prior, noise_multiplier, rate, steps)
    if noise_multiplier == 0:
        raise BadConfig("without noise there is no density to draw from", fix="pass a noise_multiplier above 0")
    ratios = [torch.zeros(draws, dtype=torch.float64) for _ in range(2)]
    for _ in range(steps):
        for present, ratio in enumerate(ratios):
            x = noise_multiplier * torch.randn(draws, generator=rng, dtype=torch.float64)
            if present:
                x = x + (torch.rand(draws, generator=rng) < rate)
            one = (2 * x - 1) / (2 * noise_multiplier**2)
            ratio += torch.log1p(rate * torch.expm1(one.clamp_max(500.0)))
    absent, there = ratios
    threshold = absent.sort(descending=True).values[max(0, math.ceil(prior * draws) - 1)]
    return float((there >= threshold).double().mean())


def _check(prior: float, noise_multiplier: float, rate: float, steps: int) -> None:
    problems = [] if 0 < prior < 1 else [f"prior must lie in (0, 1), got {prior}"]
    problems += [] if noise_multiplier >= 0 else [f"noise_multiplier must be at least 0, got {noise_multiplier}"]
    problems += [] if 0 < rate <= 1 else [f"rate must lie in (0, 1], got {rate}"]
    problems += [] if steps >= 0 else [f"steps must be at least 0, got {steps}"]
    if problems:
        raise BadConfig("the reconstruction bound cannot be computed", problems=problems)
