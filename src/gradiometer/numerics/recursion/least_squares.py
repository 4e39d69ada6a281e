"""Linear least squares whose answer carries its own error: residual, spectrum, and the deviation of every unknown."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

FLOAT32 = 3e-7
"""Relative error of a gradient that a float32 client sums up (measured on convolutional networks)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Solution:
    """Of `matrix @ x = right` in the least-squares sense, over the directions that the equations determine.

    Args:
        x: [unknowns, columns], without part in the open directions.
        deviation: expected error of every unknown [unknowns]; infinite where it takes part in an open direction.
        residual: norm of the residual relative to that of the right side.
        basis, eigenvalues: orthonormal directions that are determined [unknowns, rank], and their eigenvalues in the
            normal matrix, rising; unknowns are `x = (basis @ coordinates) / scale`.
        scale: norms of the matrix' columns [unknowns].
        level: expected error of an entry of the right side.
    """

    x: Tensor
    deviation: Tensor
    residual: float
    basis: Tensor
    eigenvalues: Tensor
    coordinates: Tensor
    scale: Tensor
    level: float

    @property
    def null(self) -> int:
        """How many directions the equations leave open."""
        return self.basis.shape[0] - self.basis.shape[1]

    @property
    def condition(self) -> float:
        """Ratio of the extreme singular values over the determined directions."""
        if not len(self.eigenvalues):
            return float("inf")
        return float(self.eigenvalues[-1] / self.eigenvalues[0]) ** 0.5


def solve(
    matrix: Tensor, right: Tensor, *, noise: float = FLOAT32, trust: float = 0.1, refinements: int = 3
) -> Solution:
    """Column scaling, eigenvectors of the smaller normal matrix, refinement against the matrix itself.

    A direction counts as open if the error that it would carry exceeds `trust` times the solution's size.

    Args:
        matrix: [equations, unknowns]; right: [equations, columns].
        noise: relative error of the right side, a lower limit where the residual itself cannot tell it.
    """
    scale = matrix.norm(dim=0).clamp_min(torch.finfo(matrix.dtype).tiny)
    scaled = matrix / scale
    eigenvalues, basis = _spectrum(scaled)
    level = noise * float(right.square().mean().sqrt())
    projected = (right.T @ (scaled @ basis)).T
    strong = eigenvalues > 1e-3 * eigenvalues[-1]
    size = float((projected[strong] / eigenvalues[strong, None]).square().mean().sqrt())
    kept = eigenvalues > (level / (trust * max(size, 1e-300))) ** 2
    basis, eigenvalues = basis[:, kept].contiguous(), eigenvalues[kept]
    y = torch.zeros_like(projected[kept])
    for _ in range(refinements):
        rest = right - scaled @ (basis @ y)
        y = y + (basis.T @ (scaled.T @ rest)) / eigenvalues[:, None]
    rest = right - scaled @ (basis @ y)
    freedom = len(matrix) - len(eigenvalues)
    if freedom > 0:
        level = max(level, float(rest.square().mean().sqrt()) * (len(matrix) / freedom) ** 0.5)
    spread = (basis.square() @ (1 / eigenvalues)).sqrt()
    undetermined = basis.square().sum(1) < 1 - 1e-6
    return Solution(
        x=(basis @ y) / scale[:, None],
        deviation=torch.where(undetermined, torch.inf, level * spread / scale),
        residual=float(rest.norm() / right.norm().clamp_min(1e-300)),
        basis=basis,
        eigenvalues=eigenvalues,
        coordinates=y,
        scale=scale,
        level=level,
    )


def _spectrum(scaled: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues of the normal matrix above rounding, rising, and their directions [unknowns, kept]."""
    rows, unknowns = scaled.shape
    if rows >= unknowns:
        eigenvalues, basis = torch.linalg.eigh(scaled.T @ scaled)
        above = eigenvalues > 1e-14 * unknowns * eigenvalues[-1]
        return eigenvalues[above], basis[:, above]
    eigenvalues, left = torch.linalg.eigh(scaled @ scaled.T)
    above = eigenvalues > 1e-12 * rows * eigenvalues[-1]
    basis, triangle = torch.linalg.qr(scaled.T @ (left[:, above] / eigenvalues[above].sqrt()))
    return eigenvalues[above], basis * triangle.diagonal().sign()
