"""Span: the column space of a linear map's weight gradient, which tells what entered the map.

For Z = X W' + b on rows X [t, in] with D = dL/dZ [t, out], the gradients are dL/dW = D' X and dL/db = D' 1. The row space of
dL/dW lies in the span of the rows of X, its column space in that of the rows of D; both are equal to these where D and X have
full rank t. Every exact attack by spans starts here.

Ranks are read in double precision: the largest ratio of neighboring singular values that stand above the rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

ROUNDING = 1e-7
"""Singular values below this share of the largest are rounding of a single-precision client."""


TAIL = 2e-9
"""Singular values below this share of the largest tell nothing, whatever the client's precision."""
CLEAR, NEAR, STEP = 20.0, 30.0, 4.0
"""The least ratio that ends a span, how flat what follows must be, and how far a random matrix' singular values spread."""
ROOM = 4
"""Least dimensions beside a span. A layer norm alone leaves one that nothing ever enters: its outputs have a mean of zero."""
SKETCH = 128
"""Random combinations of rows of the first look at a large gradient."""


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

    def joined(self, direction: Tensor) -> Span:
        """The span with one more direction [in] of its inputs that the gradient does not show."""
        rest = direction - direction @ self.right.T @ self.right
        return replace(self, right=torch.cat([self.right, rest[None] / rest.norm()]))

    def beside(self, count: int, rng: torch.Generator) -> Tensor:
        """Random directions [count, in] orthogonal to the span: what is in the span has no part in any of them."""
        drawn = torch.randn(count, self.right.shape[1], generator=rng, dtype=self.right.dtype)
        drawn -= drawn @ self.right.T @ self.right
        return drawn / drawn.norm(dim=1, keepdim=True)


def span(gradient: Tensor, *, rank: int | Callable[[Tensor], int] | None = None, most: int | None = None) -> Span:
    """The span of a gradient [out, in].

    Args:
        rank: where it is known; or what reads it off the falling singular values.
        most: the largest rank to consider.
    """
    left, values, right = torch.linalg.svd(gradient.double(), full_matrices=False)
    rank = rank(values) if callable(rank) else rank
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


def edge(values: Tensor) -> int:
    """Where falling singular values [n] meet the flat tail that rounding or drift leaves: how many stand above.

    The last large ratio of neighbors behind which all is flat; without one, what stands clear of the last values. One value
    too many costs a dimension of the complement; one too few would deny what is in the span.
    """
    if not len(values) or values[0] == 0:
        return 0
    floored = values.clamp_min(TAIL * float(values[0]))
    ratios = floored[:-1] / floored[1:]
    for i in (ratios >= CLEAR).nonzero().flatten().flip(0).tolist():
        if floored[i + 1] <= NEAR * floored[i + 1 :].median():
            return int(i) + 1
    return int((floored > STEP * floored[-max(1, len(values) // 32) :].median()).sum())


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What the singular values alone tell of a gradient [out, in].

    Args:
        shape: of the gradient.
        rank, gap: as `span` with `edge` finds them.
        least: the last singular value that is kept, and tail: the first that is not, in units of the Frobenius norm.
    """

    shape: tuple[int, int]
    rank: int
    gap: float
    least: float
    tail: float

    @property
    def full(self) -> bool:
        """Whether next to nothing lies outside the span: it then shows a part of what entered, or denies nothing."""
        return self.rank > min(self.shape) - ROOM

    @property
    def drowns(self) -> float:
        """The noise an entry, in units of the gradient's root mean square, whose largest singular value is the span's least.

        That of an m x n matrix of noise is `sd (sqrt(m) + sqrt(n))`, and the root mean square is `norm / sqrt(m n)`.
        """
        m, n = self.shape
        return self.least * (m * n) ** 0.5 / (m**0.5 + n**0.5)


def outline(gradient: Tensor, rng: torch.Generator) -> Outline:
    """Rank and gap of a gradient [out, in] without its directions: of a large one by random combinations of its rows.

    Twice as many random combinations as there are independent rows keep every singular value up to a factor of about two.
    """
    rows = gradient if gradient.shape[0] >= gradient.shape[1] else gradient.T
    values, kept = rows.new_zeros(0, dtype=torch.float64), 0
    size = SKETCH
    while 2 * size <= rows.shape[1]:
        mixed = torch.randn(size, rows.shape[0], generator=rng, dtype=torch.float64) @ rows.double() / size**0.5
        values = torch.linalg.svdvals(mixed)
        kept = edge(values)
        if 2 * kept <= size:
            break
        size *= 2
    else:
        values = torch.linalg.svdvals(torch.linalg.qr(rows.double(), mode="r").R)
        kept = edge(values)
    norm = float(gradient.double().norm())
    floor = max(TAIL * norm, torch.finfo(torch.float64).tiny)
    least = float(values[kept - 1]) if kept else 0.0
    tail = float(values[kept]) if kept < len(values) else 0.0
    return Outline(
        shape=(gradient.shape[0], gradient.shape[1]),
        rank=kept,
        gap=least / max(tail, floor),
        least=least / max(norm, floor),
        tail=tail / max(norm, floor),
    )
