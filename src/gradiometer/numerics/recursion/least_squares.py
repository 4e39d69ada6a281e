"""Linear least squares whose answer carries its own error: residual, spectrum, and the deviation of every unknown."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

FLOAT32 = 3e-7
"""Relative error of a gradient that a float32 client sums up (an assumption from small convolutional networks)."""


TRUST = 0.1
"""A direction counts as open if the error that it would carry exceeds this part of the solution's size."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Directions:
    """What equations determine, where that is not everything.

    Args:
        basis, eigenvalues: orthonormal directions [unknowns, rank] and their eigenvalues in the normal matrix, rising.
        coordinates: of the solution; unknowns are `x = (basis @ coordinates) / scale`.
        scale: norms of the matrix' columns [unknowns].
        level: expected error of an entry of the right side.
    """

    basis: Tensor
    eigenvalues: Tensor
    coordinates: Tensor
    scale: Tensor
    level: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Solution:
    """Of `matrix @ x = right` in the least-squares sense, over the directions that the equations determine.

    Args:
        x: [unknowns, columns], without part in the open directions.
        deviation: expected error of x, entry by entry; infinite where an unknown takes part in an open direction.
        residual: norm of the residual relative to that of the right side.
        condition: about the ratio of the extreme singular values of the column-scaled matrix, or of what is determined.
        null: how many directions are open.
        directions: only where some are.
    """

    x: Tensor
    deviation: Tensor
    residual: float
    condition: float
    null: int = 0
    directions: Directions | None = None


def solve(
    matrix: Tensor, right: Tensor, *, noise: float = FLOAT32, error: float | None = None, refinements: int = 3
) -> Solution:
    """Column scaling, the normal matrix, refinement against the matrix itself.

    Args:
        matrix: [equations, unknowns]; right: [equations, columns].
        noise: relative error of the right side, a lower limit where the residual itself cannot tell it.
        error: the same as an absolute one, where it is known.
    """
    scaled, scale, level = _scaled(matrix, right, noise, error)
    whole = _determined(scaled, right, scale, level, refinements) if len(matrix) >= matrix.shape[1] else None
    return whole or _partial(scaled, right, scale, level, refinements)


def directions(
    matrix: Tensor, right: Tensor, *, noise: float = FLOAT32, error: float | None = None, refinements: int = 3
) -> Directions:
    """What the equations determine, also where that is everything. Arguments as in `solve`."""
    scaled, scale, level = _scaled(matrix, right, noise, error)
    found = _partial(scaled, right, scale, level, refinements).directions
    assert found is not None
    return found


def _scaled(matrix: Tensor, right: Tensor, noise: float, error: float | None) -> tuple[Tensor, Tensor, float]:
    scale = matrix.norm(dim=0).clamp_min(torch.finfo(matrix.dtype).tiny)
    return matrix / scale, scale, noise * float(right.square().mean().sqrt()) if error is None else error


def _determined(scaled: Tensor, right: Tensor, scale: Tensor, level: float, refinements: int) -> Solution | None:
    """By Cholesky's factors; None if some direction is open."""
    factor, failed = torch.linalg.cholesky_ex(scaled.T @ scaled)
    if int(failed):
        return None
    spread = torch.cholesky_inverse(factor).diagonal()
    y = torch.zeros(scaled.shape[1], right.shape[1], dtype=right.dtype)
    for _ in range(refinements):
        y = y + torch.cholesky_solve(scaled.T @ (right - scaled @ y), factor)
    rest = right - scaled @ y
    levels = _levels(rest, level, len(scaled) - scaled.shape[1])
    worst = float(levels.square().mean().sqrt()) * float(spread.max()) ** 0.5
    if not bool(spread.max() < 1e10) or worst > TRUST * float(y.square().mean().sqrt()):
        return None
    return Solution(
        x=y / scale[:, None],
        deviation=(spread.sqrt() / scale)[:, None] * levels,
        residual=float(rest.norm() / right.norm().clamp_min(1e-300)),
        condition=float(spread.max()) ** 0.5,
    )


def _partial(scaled: Tensor, right: Tensor, scale: Tensor, level: float, refinements: int) -> Solution:
    """By eigenvectors of the smaller normal matrix."""
    eigenvalues, basis = _spectrum(scaled)
    projected = (right.T @ (scaled @ basis)).T
    strong = eigenvalues > 1e-3 * eigenvalues[-1:]
    size = float((projected[strong] / eigenvalues[strong, None]).square().mean().sqrt())
    kept = eigenvalues > (level / (TRUST * max(size, 1e-300))) ** 2
    basis, eigenvalues = basis[:, kept].contiguous(), eigenvalues[kept]
    y = torch.zeros_like(projected[kept])
    for _ in range(refinements):
        rest = right - scaled @ (basis @ y)
        y = y + (basis.T @ (scaled.T @ rest)) / eigenvalues[:, None]
    rest = right - scaled @ (basis @ y)
    levels = _levels(rest, level, len(scaled) - len(eigenvalues))
    level = float(levels.square().mean().sqrt())
    spread = (basis.square() @ (1 / eigenvalues)).sqrt()
    undetermined = basis.square().sum(1) < 1 - 1e-6
    return Solution(
        x=(basis @ y) / scale[:, None],
        deviation=torch.where(undetermined[:, None], torch.inf, (spread / scale)[:, None] * levels),
        residual=float(rest.norm() / right.norm().clamp_min(1e-300)),
        condition=float(eigenvalues[-1] / eigenvalues[0]) ** 0.5 if len(eigenvalues) else float("inf"),
        null=basis.shape[0] - basis.shape[1],
        directions=Directions(basis=basis, eigenvalues=eigenvalues, coordinates=y, scale=scale, level=level),
    )


def _levels(rest: Tensor, level: float, freedom: int) -> Tensor:
    """Every right side's error as its residual shows it, if there are more equations than it takes to hide it."""
    floor = rest.new_full((rest.shape[1],), level)
    return torch.maximum(floor, rest.norm(dim=0) / freedom**0.5) if freedom > 0 else floor


def _spectrum(scaled: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues of the normal matrix above rounding, rising, and their directions [unknowns, kept]."""
    rows, unknowns = scaled.shape
    if rows >= unknowns:
        eigenvalues, basis = torch.linalg.eigh(scaled.T @ scaled)
        above = eigenvalues > 1e-14 * unknowns * eigenvalues[-1:]
        return eigenvalues[above], basis[:, above]
    eigenvalues, left = torch.linalg.eigh(scaled @ scaled.T)
    above = eigenvalues > 1e-12 * rows * eigenvalues[-1:]
    basis, triangle = torch.linalg.qr(scaled.T @ (left[:, above] / eigenvalues[above].sqrt()))
    return eigenvalues[above], basis * triangle.diagonal().sign()
