"""How often everything occurs: the readout's gradient as a sum of what each kind of node adds to it."""

from __future__ import annotations

import torch
from torch import Tensor

WHOLE = 0.03
"""How far a count may be from whole."""
FITS, ADDED, ROUNDS, DIRECTIONS = 1e-5, 256, 40, 40
"""Share of the gradient that may stay unexplained at least, how many candidates join a round, rounds, and directions of the sketch."""


def robust_shares(
    target: Tensor, slopes: Tensor, rows: Tensor, balance: Tensor, fits: float, rng: torch.Generator
) -> tuple[Tensor, float]:
    """As `shares`; where outputs stand against all others, without these.

    A node that brings a unit to the very edge of its ReLU may open it for the client and not for us.
    """
    weights, left = shares(target, slopes, rows, balance, fits, rng)
    if left < fits:
        return weights, left
    rest = (target - slopes.T @ (weights[:, None] * rows)).norm(dim=1)
    kept = rest.argsort()[: -max(1, len(rest) // 100)]
    again, fewer = shares(target[kept], slopes[:, kept], rows, balance, fits, rng)
    return (again, fewer) if fewer < fits else (weights, left)


def shares(
    target: Tensor, slopes: Tensor, rows: Tensor, balance: Tensor, fits: float, rng: torch.Generator
) -> tuple[Tensor, float]:
    """The weights w >= 0 of least `|target - sum_c w_c slopes_c' rows_c|` with `balance w = 0`, and what stays unexplained.

    Candidates join by how much of the remainder they point along; the weights of those that joined are solved for by
    nonnegative least squares on random projections of both sides.

    Args:
        target: [out, in]. slopes: [n, out]. rows: [n, in]. balance: [equations, n].
        fits: share of the target that may stay unexplained.

    Returns:
        [n], and the norm of the remainder relative to the target's.
    """
    from scipy.optimize import nnls

    left = torch.randn(target.shape[0], DIRECTIONS, generator=rng, dtype=target.dtype) / DIRECTIONS**0.5
    right = torch.randn(target.shape[1], DIRECTIONS, generator=rng, dtype=target.dtype) / DIRECTIONS**0.5
    seen, read = slopes @ left, rows @ right
    sizes = (slopes.norm(dim=1) * rows.norm(dim=1)).clamp_min(1e-300)
    balance = balance * sizes.median()
    wanted = torch.cat([(left.T @ target @ right).flatten(), balance.new_zeros(len(balance))])
    weights, active = target.new_zeros(len(rows)), torch.zeros(0, dtype=torch.long)
    best = 1.0
    for _ in range(ROUNDS):
        remainder = target - slopes[active].T @ (weights[active, None] * rows[active])
        along = ((rows @ remainder.T) * slopes).sum(1) - balance.T @ (balance[:, active] @ weights[active])
        along[active] = -1
        size, new = (along / sizes).topk(min(ADDED, len(along)))
        if not (size > 0).any():
            break
        active = torch.cat([active, new[size > 0]])
        outer = (seen[active, :, None] * read[active, None, :]).flatten(1).T
        columns = torch.cat([outer, balance[:, active]]) / sizes[active]
        solved = torch.from_numpy(nnls(columns.numpy(), wanted.numpy())[0]) / sizes[active]
        weights = torch.zeros_like(weights)
        weights[active] = solved
        active = active[solved > 0]
        remainder = target - slopes[active].T @ (weights[active, None] * rows[active])
        best = float(remainder.norm() / target.norm())
        if best < fits and float((balance @ weights).norm()) < fits * float(target.norm()):
            break
    return weights, best


def numbers(weights: Tensor, most: int) -> list[int]:
    """The numbers of nodes up to `most` of which all shares [k] are whole, rising."""
    counts = torch.arange(1, most + 1, dtype=weights.dtype)[:, None]
    off = (weights * counts - (weights * counts).round()).abs().amax(1)
    return [int(n) for n in counts[off < WHOLE]]
