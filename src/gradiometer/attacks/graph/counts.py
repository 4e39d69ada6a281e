"""How often everything occurs: the readout's gradient as a sum of what each kind of node adds to it."""

from __future__ import annotations

import torch
from torch import Tensor

WHOLE = 0.03
"""How far a count may be from whole."""
FITS, ADDED, ROUNDS, DIRECTIONS = 1e-5, 48, 40, 40
"""Share of the gradient that may stay unexplained, how many candidates join a round, rounds, and directions of the sketch."""


def shares(target: Tensor, slopes: Tensor, rows: Tensor, rng: torch.Generator) -> tuple[Tensor, float]:
    """The weights w >= 0 of least `|target - sum_c w_c slopes_c' rows_c|`, and what stays unexplained of the target.

    Candidates join by how much of the remainder they point along; the weights of those that joined are solved for by
    nonnegative least squares on random projections of both sides.

    Args:
        target: [out, in]. slopes: [n, out]. rows: [n, in].

    Returns:
        [n], and the norm of the remainder relative to the target's.
    """
    from scipy.optimize import nnls

    left = torch.randn(target.shape[0], DIRECTIONS, generator=rng, dtype=target.dtype)
    right = torch.randn(target.shape[1], DIRECTIONS, generator=rng, dtype=target.dtype)
    sketch = (left.T @ target @ right).flatten()
    seen, read = slopes @ left, rows @ right
    sizes = slopes.norm(dim=1) * rows.norm(dim=1)
    weights, active = target.new_zeros(len(rows)), torch.zeros(0, dtype=torch.long)
    best = 1.0
    for _ in range(ROUNDS):
        remainder = target - slopes[active].T @ (weights[active, None] * rows[active])
        along = ((rows @ remainder.T) * slopes).sum(1) / sizes.clamp_min(1e-300)
        along[active] = -1
        size, new = along.topk(min(ADDED, len(along)))
        active = torch.cat([active, new[size > 0]])
        columns = (seen[active, :, None] * read[active, None, :]).flatten(1).T
        scale = columns.norm(dim=0).clamp_min(1e-300)
        solved = torch.from_numpy(nnls((columns / scale).numpy(), sketch.numpy())[0]) / scale
        weights = torch.zeros_like(weights)
        weights[active] = solved
        active = active[solved > 0]
        remainder = target - slopes[active].T @ (weights[active, None] * rows[active])
        before, best = best, float(remainder.norm() / target.norm())
        if best < FITS or best > 0.999 * before:
            break
    return weights, best


def numbers(weights: Tensor, most: int) -> list[int]:
    """The numbers of nodes up to `most` of which all shares [k] are whole, rising."""
    counts = torch.arange(1, most + 1, dtype=weights.dtype)[:, None]
    off = (weights * counts - (weights * counts).round()).abs().amax(1)
    return [int(n) for n in counts[off < WHOLE]]
