"""Linear estimates from examples: ridge regression along its whole path of strengths, and Wiener's filter."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

STRENGTHS = torch.logspace(-9, 1, 21, dtype=torch.float64)
"""Tried, in units of the greatest eigenvalue."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ridge:
    """W = (F'F + s I)^-1 F' Y, with the strength s that predicts held-out rows best.

    Args:
        weights: [features, outputs]. strength: s over the greatest eigenvalue; infinite where W is zero.
        decibels: mean over the held-out rows of -10 log10 of their mean squared error.
    """

    weights: Tensor
    strength: float
    decibels: float


class RidgePath:
    """Regressions on the same features, each at its own best strength.

    The smaller of F'F and FF' is decomposed once, so that neither many rows nor long features are slow.

    Args:
        features: F [rows, m]; held_features: rows that decide the strength.
    """

    def __init__(self, features: Tensor, held_features: Tensor) -> None:
        dual = len(features) < features.shape[1]
        values, vectors = torch.linalg.eigh(features @ features.T if dual else features.T @ features)
        self._values = values.clamp_min(0)
        self._into = features.T @ vectors if dual else vectors
        self._onto = vectors.T if dual else vectors.T @ features.T
        self._seen = held_features @ self._into

    def fit(self, outputs: Tensor, held_outputs: Tensor) -> Ridge:
        """The regression of `outputs` [rows, d].

        W = 0 competes too: what was not learned is not used. Rows are compared by decibels, so that a few bad ones do not
        decide over many good ones.
        """
        onto = self._onto @ outputs
        shrunk, best = torch.zeros_like(onto), (float("inf"), decibels(held_outputs))
        for strength in STRENGTHS.tolist():
            tried = onto / (self._values + strength * self._values[-1].clamp_min(1e-300))[:, None]
            reached = decibels(self._seen @ tried - held_outputs)
            if reached > best[1]:
                shrunk, best = tried, (strength, reached)
        return Ridge(weights=self._into @ shrunk, strength=best[0], decibels=best[1])


def wiener(clean: Tensor, errors: Tensor) -> tuple[Tensor, Tensor]:
    """The best linear estimate of a signal from a noisy copy x + n: W = S (S + N)^-1 about the means.

    Args:
        clean: [many, d], signals that say what they look like: S is their covariance.
        errors: [rows, d], noisy less true: N is the diagonal of their variances.

    Returns:
        W [d, d] and the offset [d]: the estimate is `noisy @ W + offset`.

    References:
        Wiener, Extrapolation, Interpolation, and Smoothing of Stationary Time Series, 1949.
    """
    mean, bias = clean.mean(0), errors.mean(0)
    covariance = (clean - mean).T @ (clean - mean) / len(clean)
    noise = errors.var(0, correction=0)
    floor = 1e-9 * covariance.diagonal().mean().clamp_min(1e-300)
    filter = torch.linalg.solve(covariance + (noise + floor).diag(), covariance)
    return filter, mean - (mean + bias) @ filter


def decibels(errors: Tensor) -> float:
    """Mean over rows [n, d] of -10 log10 of the mean square, which is cut at 1e-16."""
    return float(-10 * errors.square().mean(1).clamp_min(1e-16).log10().mean())
