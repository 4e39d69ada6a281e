"""A gradient [dW, db] = D [X, 1] of a ReLU layer taken apart: its sparse directions are searched until they certify themselves.

The certificate: an example whose input x and derivative d were found right has d_j = 0 in just the rows in which
W_j x + b_j <= 0. W and b never entered the search, so that a wrong direction passes by chance only. Rows that cannot tell are not counted: a
d_j within its error of zero where W_j x + b_j > 0, and rows whose sign changed between the weights before and after.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .fit import fit
from .span import Span
from .sparse_directions import LEAST, Basis, descend, independent, polish

CHUNK = 32
"""Starts of the search that run side by side."""
PATIENCE = 16 * CHUNK
"""Starts without a better certificate after which a complete but uncertain set is left as it is, and half of all."""
CERTAIN = 0.98
"""Share of the telling rows in which the zeros of d and the signs of W x + b have to agree."""
LIVE = 20.0
"""Rows stronger than this many standard deviations of their error count."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Factors:
    """What was found.

    Args:
        inputs: [k, in]; deltas: [out, k], zero where they are zero; match: [k], the certificate of each.
        error: [k], standard deviation of an entry of each input, from the gradient's own error.
        found: how many independent sparse directions were found; `inputs` need all of them.
        starts: how many the search took.
    """

    inputs: Tensor
    deltas: Tensor
    match: Tensor
    error: Tensor
    found: int
    starts: int

    @property
    def certain(self) -> bool:
        """Whether every example is certified."""
        return len(self.match) > 0 and bool(self.match.min() > CERTAIN)


def search(span: Span, weights: Sequence[Tensor], rng: torch.Generator, most: int) -> Iterator[Factors]:
    """The best factors after each round of the search; the last ones are certain, or `most` starts are spent.

    Args:
        span: of [dW, db], [out, in + 1].
        weights: [W, b] of the layer [out, in + 1], at the beginning of the round and, if it took several steps, at its end.
        most: starts.
    """
    noise = span.noise.clamp_min(1e-16 * float(span.values[0]))
    live = span.left.norm(dim=1) > LIVE * noise * (1 / span.values).norm()
    basis = Basis(rows=span.left[live], noise=noise[live], values=span.values, silent=int((~live).sum()))
    known = torch.zeros(0, span.rank, dtype=torch.float64)
    if len(basis.rows) < span.rank:  # noise covers the others
        yield _factors(span, basis, live, known, weights, 0)
        return
    if span.rank == 1:
        yield _factors(span, basis, live, torch.ones(1, 1, dtype=torch.float64), weights, 0)
        return
    shares, starts, best, since = known[:, 0], 0, 0.0, 0
    while starts < most and (best == 0 or since < max(PATIENCE, starts // 2)):
        some, zeros = polish(basis, descend(basis, CHUNK, rng, known))
        starts += CHUNK
        sparse = zeros > LEAST
        known, shares = independent(torch.cat([known, some[sparse]]), torch.cat([shares, zeros[sparse]]), span.rank)
        factors = _factors(span, basis, live, known, weights, starts)
        yield factors
        if factors.certain:
            return
        match = float(factors.match.mean()) if len(factors.match) else 0.0
        best, since = (match, 0) if match > best else (best, since + CHUNK)
        if len(factors.match):  # a wrong direction may hide the right one
            known, shares = known[factors.match > CERTAIN], shares[factors.match > CERTAIN]


def _factors(span: Span, basis: Basis, live: Tensor, known: Tensor, weights: Sequence[Tensor], starts: int) -> Factors:
    count, width = len(known), span.right.shape[1] - 1
    if count < span.rank:
        none = span.left.new_zeros(0)
        return Factors(
            inputs=none.reshape(0, width),
            deltas=none.reshape(len(live), 0),
            match=none,
            error=none,
            found=count,
            starts=starts,
        )
    active = torch.zeros(len(live), count, dtype=torch.bool)
    active[live] = ~basis.zeros(known).T
    deltas = span.left @ known.T * active
    kernel = span.left * span.values
    for _ in range(2):  # each row by the examples that reach it alone, then each example by all rows
        inner = fit(deltas, kernel)
        deltas = _masked(inner, kernel, active)
    joint = inner @ span.right
    scale = torch.where(joint[:, -1:] == 0, 1.0, joint[:, -1:])
    joint, deltas = joint / scale, deltas * scale.T
    spread = torch.linalg.pinv(deltas) * span.noise
    return Factors(
        inputs=joint[:, :-1],
        deltas=deltas,
        match=_match(joint, active[live], [w[live] for w in weights]),
        error=spread.norm(dim=1),
        found=count,
        starts=starts,
    )


def _match(joint: Tensor, active: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Share of the rows that can tell in which each example's zeros are those of its ReLU, [k]; 0 if most cannot."""
    signs = torch.stack([w @ joint.T > 0 for w in weights])
    told = (signs == signs[0]).all(0) & (active | ~signs[0])
    share = (told & (signs[0] == active)).sum(0) / told.sum(0).clamp_min(1)
    return torch.where(2 * told.sum(0) > len(told), share.double(), 0.0)


def _masked(inner: Tensor, kernel: Tensor, active: Tensor) -> Tensor:
    """Least squares for each row of D [out, b] in D inner = kernel, with zeros where nothing is active."""
    gram, hit = inner @ inner.T, active.to(inner.dtype)
    systems = hit[:, :, None] * gram * hit[:, None, :] + torch.diag_embed(1 - hit) * gram.diagonal().mean()
    return torch.linalg.solve(systems, (kernel @ inner.T * hit)[:, :, None])[:, :, 0]
