"""Span: the column space of a linear map's weight gradient, which tells what entered the map.

For Z = X W' + b on rows X [t, in] with D = dL/dZ [t, out], the gradients are dL/dW = D' X and dL/db = D' 1. The row space of
dL/dW lies in the span of the rows of X, its column space in that of the rows of D; both are equal to these where D and X have
full rank t. Every exact attack by spans starts here.

Ranks are read in double precision: the largest ratio of neighboring singular values that stand above the rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ROUNDING = 1e-7
"""Singular values below this share of the largest are rounding of a single-precision client."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Span:
    """A gradient's singular value decomposition, cut at its rank: gradient ~ left diag(values) right.

    Args:
        left: [out, rank], orthonormal columns. values: [rank], falling. right: [rank, in], orthonormal rows.
        gap: ratio of the last singular value that is kept to the first that is not; infinite for a full rank.
        noise: [out], standard deviation of an entry's error in each row, as what lies outside the span tells it.
    """

    left: Tensor
    values: Tensor
    right: Tensor
    gap: float
    noise: Tensor

    @property
    def rank(self) -> int:
        """How many independent rows entered the map: at most that many examples, tokens or nodes."""
        return len(self.values)

    def distance(self, rows: Tensor) -> Tensor:
        """Sine of the angle between each row [n, in] and the span of the map's inputs, in [0, 1]; [n]."""
        unit = rows / rows.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
        return (unit - unit @ self.right.T @ self.right).norm(dim=-1)


def span(gradient: Tensor, *, rank: int | None = None, most: int | None = None) -> Span:
    """The span of a gradient [out, in].

    Args:
        rank: where it is known.
        most: the largest rank to consider.
    """
    left, values, right = torch.linalg.svd(gradient.double(), full_matrices=False)
    kept = _rank(values, most) if rank is None else min(rank, len(values))
    rest = values[kept:]
    outside = (left[:, kept:] * rest).norm(dim=1)
    return Span(
        left=left[:, :kept],
        values=values[:kept],
        right=right[:kept],
        gap=float(values[kept - 1] / rest[0]) if kept and len(rest) and rest[0] > 0 else float("inf"),
        noise=outside / max(1, gradient.shape[1] - kept) ** 0.5,
    )


def _rank(values: Tensor, most: int | None) -> int:
    """Where the ratio of neighbors is largest, above the rounding."""
    if not len(values) or values[0] == 0:
        return 0
    floored = values.clamp_min(ROUNDING * float(values[0]) * len(values) ** 0.5)
    ratios = floored[:-1] / floored[1:]
    ratios = ratios[:most]
    if not len(ratios) or ratios.max() < 1.5:
        return min(len(values), most or len(values))
    return int(ratios.argmax()) + 1
