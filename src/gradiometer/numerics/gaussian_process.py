"""Gaussian process regression with one length a dimension: what a few noiseless values say of a smooth function."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

JITTER = 1e-4
"""Added to the diagonal: values count as exact up to this variance, in units of theirs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GaussianProcess:
    """k(a, b) = (1 + r + r^2 / 3) exp(-r), r^2 = 5 sum_d (a_d - b_d)^2 / length_d^2 (Matérn 5/2), mean 0, variance 1.

    Args:
        x: where values are known, [n, entries].
        root: Cholesky factor of their covariance. weights: its inverse times the values.
        lengths: [entries].

    References:
        Rasmussen, Williams, "Gaussian Processes for Machine Learning", 2006, algorithm 2.1.
    """

    x: Tensor
    root: Tensor
    weights: Tensor
    lengths: Tensor

    @classmethod
    def fitted(cls, x: Tensor, y: Tensor, *, steps: int = 30) -> GaussianProcess:
        """The process of these values, with lengths of the greatest likelihood that Adam finds in so many steps.

        Args:
            x: [n, entries], in [0, 1]. y: [n], of mean 0 and variance 1.
        """
        logs = torch.full((x.shape[1],), math.log(0.5 * math.sqrt(x.shape[1])), dtype=x.dtype, requires_grad=True)
        optimizer = torch.optim.Adam([logs], lr=0.1)
        with torch.enable_grad():
            for _ in range(steps):
                root = torch.linalg.cholesky(_covariance(x, x, logs.exp()) + JITTER * torch.eye(len(x), dtype=x.dtype))
                solved = torch.cholesky_solve(y[:, None], root)[:, 0]
                loss = torch.dot(y, solved) / 2 + root.diagonal().log().sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                with torch.no_grad():
                    logs.clamp_(math.log(0.005), math.log(10 * math.sqrt(x.shape[1])))
        lengths = logs.detach().exp()
        root = torch.linalg.cholesky(_covariance(x, x, lengths) + JITTER * torch.eye(len(x), dtype=x.dtype))
        return cls(x=x, root=root, weights=torch.cholesky_solve(y[:, None], root)[:, 0], lengths=lengths)

    def posterior(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Mean [m] and covariance [m, m] at points [m, entries]."""
        across = _covariance(self.x, points, self.lengths)
        solved = torch.linalg.solve_triangular(self.root, across, upper=False)
        return across.T @ self.weights, _covariance(points, points, self.lengths) - solved.T @ solved

    def samples(self, points: Tensor, count: int, rng: torch.Generator) -> Tensor:
        """Draws of the function's values at these points, [count, m]."""
        mean, covariance = self.posterior(points)
        root = torch.linalg.cholesky(covariance + JITTER * torch.eye(len(points), dtype=points.dtype))
        return mean + torch.randn(count, len(points), generator=rng, dtype=points.dtype) @ root.T


def _covariance(a: Tensor, b: Tensor, lengths: Tensor) -> Tensor:
    a, b = a / lengths, b / lengths
    squared = (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp_min(0)
    r = (5 * squared + 1e-12).sqrt()
    return (1 + r + r.square() / 3) * (-r).exp()
