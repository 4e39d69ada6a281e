"""What the gradients of a graph network's maps show: their spans, and which 0/1 vectors lie in one."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gradiometer.numerics.fit import fit
from gradiometer.numerics.span import Span, edge, span

from .causes import Cause, Unread

LEAST = 1e-5
"""Smallest tolerance of a distance to a span. A float32 client's true nodes lie within 5e-6."""
DEPENDENT, WHOLE = 1e-4, 0.1
"""How far a column may stand out of others' span and still follow from them, and how far a number may be from whole."""


def spanned(gradient: Tensor, tolerance: float | None) -> tuple[Span, float]:
    """The span of a gradient and the distance (a sine) up to which something lies in it."""
    live = gradient.any(0)
    found = span(gradient[:, live], rank=edge)
    right = found.right.new_zeros(found.rank, len(live))
    right[:, live] = found.right
    found = replace(found, right=right)
    return found, tolerance or max(LEAST, 0.3 / found.gap)


def binary_points(found: Span, live: Tensor, whole: Tensor | None, most: int) -> Tensor:
    """All vectors of zeros and ones in a span, [n, features].

    A vector in a span of rank r follows from r of its entries. These are chosen one by one, each of 0 and 1 is tried, and what
    follows from the chosen so far must be 0 or 1 too: so that the number of beginnings stays small, the next entry is the
    one that decides most others.

    Args:
        live: [features], which entries are ever 1.
        whole: entries [k] of which exactly one is 1 in every vector; None where there are none.
        most: beginnings to follow at most.

    Raises:
        Unread: there are more.
    """
    columns = found.right[:, live]  # [rank, live]
    # Entries that are always equal are one entry.
    near = torch.cdist(columns.T, columns.T) < DEPENDENT
    first = near.int().argmax(1)
    distinct, inverse = first.unique(return_inverse=True)
    columns = columns[:, distinct]
    pivots, points = columns.new_zeros(len(columns), 0), columns.new_zeros(1, 0)
    if whole is not None:
        pivots, points = found.right[:, whole].sum(1, keepdim=True), columns.new_ones(1, 1)
    open_ = torch.ones(columns.shape[1], dtype=torch.bool)
    while True:
        shares = fit(pivots, columns) if pivots.shape[1] else columns.new_zeros(0, len(open_))
        rest = columns - pivots @ shares
        lengths = rest.norm(dim=0)
        told = open_ & (lengths < DEPENDENT)
        values = points @ shares[:, told]
        points = points[((values - values.clamp(0, 1).round()).abs() < WHOLE).all(1)]
        open_ &= ~told
        if not open_.any() or not len(points):
            break
        if 2 * len(points) > most:
            raise Unread(
                Cause.TOO_MANY_NODES,
                f"too many nodes fit the first span: more than {most} beginnings after {points.shape[1]} of {found.rank} entries",
                fix="the graph has too many nodes for its features",
            )
        unit = rest / lengths.clamp_min(DEPENDENT)
        decided = ((unit.T @ unit[:, open_]).abs() > 1 - 1e-6).sum(1) * open_ * (lengths > 0.1 * lengths[open_].max())
        chosen = int(decided.argmax())
        pivots = torch.cat([pivots, columns[:, chosen : chosen + 1]], 1)
        both = torch.tensor([0.0, 1.0], dtype=points.dtype).repeat(len(points))[:, None]
        points = torch.cat([points.repeat_interleave(2, 0), both], 1)
        open_[chosen] = False
    shares = fit(pivots, columns)
    nodes = found.right.new_zeros(len(points), len(live))
    nodes[:, live] = (points @ shares)[:, inverse].round().abs()
    return nodes
