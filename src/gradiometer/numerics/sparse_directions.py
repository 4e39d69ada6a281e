"""Sparse directions of a subspace: the vectors q for which the most entries of L q vanish.

A ReLU layer gives every example its own zeros: of the derivatives D [rows, examples] about half of each column. What a gradient
shows is the space that the columns span, L [rows, b], and its sparsest vectors are these columns. Drawing b - 1 rows and hoping
that one example has a zero in each takes 2^b draws. Descent takes a few starts instead: we minimize

    sum_j (r_j^2 + eps^2)^(p/2),   r = L q, rows of L at unit length, |q| = 1, p = 1/2,

by reweighting (each step takes the weakest eigenvector of L' diag(w) L) while eps falls from three times the median |r| to
the noise. The first steps, at large eps, find a direction that is less Gaussian than others; the last ones its exact zeros.
A step costs starts x rows x b^2.

References:
    Qu, Sun, Wright, "Finding a Sparse Vector in a Subspace: Linear Sparsity Using Alternating Directions", 2014, arXiv:1412.4659.
    Chartrand, Yin, "Iteratively Reweighted Algorithms for Compressive Sensing", 2008.
    Dimitrov, Baader, Müller, Vechev, "SPEAR: Exact Gradient Inversion of Batches in Federated Learning", 2024, arXiv:2403.03945
    (the task, solved there by drawing rows).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

POWER = 0.5
FIRST, FALL, STEPS = (0.3, 3.6), 0.92, 80
"""eps begins between these medians of |r| (large: the strongest directions attract; small: the nearest) and falls by this factor."""
SLACKS = (2e-2, 1e-4, 1e-6, 0.0)
"""What counts as a zero while a direction is polished, in medians of |r|."""
LEAST = 0.2
"""Share of zeros that a direction must have: one example has about a half, a mixture of two about a quarter."""
APART = 1e-3
"""Directions whose unit vectors are closer than this are one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Basis:
    """A subspace with the error of its entries.

    Args:
        rows: [m, b], orthonormal columns before weak rows were left out.
        noise: [m], standard deviation of an entry's error in the rows of the gradient.
        values: [b], the gradient's singular values, by which its columns were divided.
        silent: how many rows were left out because no example reaches them.
    """

    rows: Tensor
    noise: Tensor
    values: Tensor
    silent: int = 0

    def errors(self, q: Tensor) -> Tensor:
        """Standard deviation of each entry of L q, for q [s, b]; [s, m]."""
        return (q / self.values).norm(dim=1, keepdim=True) * self.noise

    def zeros(self, q: Tensor, slack: float = 0.0) -> Tensor:
        """Which entries of L q are zero within their error, or below `slack` medians, [s, m].

        Errors are normal only nearly: the line is drawn at the cube root of the strong entries' size, in standard
        deviations, between 5 and 1,000 of these.
        """
        r, errors = (q @ self.rows.T).abs(), self.errors(q)
        line = (r / errors).quantile(0.8, dim=1, keepdim=True).pow(1 / 3).clamp(5, 1e3)
        return r < torch.maximum(line * errors, slack * r.median(1, keepdim=True).values)


def descend(basis: Basis, starts: int, rng: torch.Generator, known: Tensor | None = None) -> Tensor:
    """Sparse directions reached from random starts, q [starts, b] of unit length; some are none.

    Args:
        known: directions found before [k, b]; starts keep away from them, half of them as far as they can.
    """
    lengths = basis.rows.norm(dim=1, keepdim=True)
    rows = basis.rows / lengths
    count, b = rows.shape
    # Near a row's own direction, that row is large for few examples: the start leans to some of them.
    q = rows[torch.randint(count, (starts,), generator=rng)]
    q = q + 0.3 / b**0.5 * torch.randn(starts, b, generator=rng, dtype=rows.dtype)
    if known is not None and 0 < len(known) < b:
        axes = torch.linalg.qr(known.T)[0]
        shares = (2 * torch.rand(starts, 1, generator=rng, dtype=q.dtype)).clamp_max(1)
        q = q - shares * (q @ axes @ axes.T)
    q = q / q.norm(dim=1, keepdim=True)
    least, most = FIRST
    first = least * (most / least) ** torch.rand(starts, 1, generator=rng, dtype=rows.dtype)
    for step in range(STEPS):
        r = q @ rows.T
        eps = r.abs().median(1, keepdim=True).values * (first * FALL**step)
        eps = torch.maximum(eps, basis.errors(q) / lengths.T)
        weights = (r.square() + eps.square()).pow(POWER / 2 - 1)
        q = torch.linalg.eigh((weights[:, :, None] * rows).transpose(1, 2) @ rows).eigenvectors[:, :, 0]
    return q


def polish(basis: Basis, q: Tensor) -> tuple[Tensor, Tensor]:
    """The directions that fit their own zeros best, and the share of zeros of each; q [s, b], [s]."""
    for slack in SLACKS:
        zeros = basis.zeros(q, slack).to(q.dtype)
        kept = (zeros[:, :, None] * basis.rows).transpose(1, 2) @ basis.rows
        q = torch.linalg.eigh(kept).eigenvectors[:, :, 0]
    return q, (basis.zeros(q).sum(1) + basis.silent).double() / (len(basis.rows) + basis.silent)


def independent(q: Tensor, shares: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The sparsest directions that are not in the span of sparser ones; at most `most`, [k, b] and their shares [k]."""
    chosen: list[int] = []
    left = q.clone()
    for i in shares.argsort(descending=True, stable=True).tolist():
        length = left[i].norm()
        if len(chosen) == most:
            break
        if length > APART:
            chosen.append(i)
            axis = left[i] / length
            left = left - (left @ axis)[:, None] * axis
    return q[chosen], shares[chosen]
