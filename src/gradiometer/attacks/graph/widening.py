"""Directions that a span lost: true neighborhoods all stand beside it in the same one, and false ones each in its own."""

from __future__ import annotations

import torch
from torch import Tensor

from gradiometer.numerics.span import Span

from .blocks import SKETCH, Kinds, chosen_blocks, tried
from .body import Body
from .causes import Budget

NEAREST, ALIKE, WIDENED = 4000, 0.01, 3
"""How many blocks outside a span are looked at, how far (a sine) alike directions may differ, and how many directions may be added."""


def missing_direction(
    body: Body, kinds: Kinds, bonds: Tensor, seen: Span, tolerance: float, budget: Budget, rng: torch.Generator
) -> Tensor | None:
    """The direction [width] that the span lacks, if several blocks miss it by the same one; None where none do.

    Where A + I is singular, or two nodes have the same derivative, the gradient loses a direction of the space that true
    blocks span. These then all lie beside the span in that one direction, and false ones each in its own.
    """
    sketch = seen.beside(SKETCH, rng).float().T.contiguous()
    nearest = list[tuple[Tensor, int, Tensor, Tensor]]()
    for kind, part, out in tried(body, kinds, bonds, budget):
        beside = out @ sketch / out.norm(dim=1, keepdim=True).clamp_min(1e-30)
        sizes, order = beside.norm(dim=1).topk(min(NEAREST, len(part)), largest=False)
        nearest.append((sizes, kind, part[order], beside[order]))
    if not nearest:
        return None
    limit = torch.cat([one[0] for one in nearest]).sort().values[:NEAREST][-1]
    kept = [(kind, part[sizes <= limit]) for sizes, kind, part, _ in nearest]
    blocks = chosen_blocks(body, kinds, kept)
    return shared_direction(blocks.hidden, seen, tolerance)


def shared_direction(hidden: Tensor, seen: Span, tolerance: float) -> Tensor | None:
    """The direction [width] in which most of these outputs [n, width] of the first layer lie beside the span; None where no two do."""
    hidden = (hidden * 1e6).round().unique(dim=0) / 1e6  # the same sum of features is no second witness
    hidden = hidden[hidden.norm(dim=1) > 0]
    rest = hidden / hidden.norm(dim=1, keepdim=True)
    rest = rest - rest @ seen.right.T @ seen.right
    lengths = rest.norm(dim=1)
    rest, lengths = rest[lengths > 3 * tolerance], lengths[lengths > 3 * tolerance]
    if len(rest) < 2:
        return None
    unit = rest / lengths[:, None]
    # An error of the size of the tolerance turns a direction by that much over its length.
    alike = (unit @ unit.T).abs() > 1 - (ALIKE * (1 + tolerance / lengths)).square()[:, None]
    witnesses = alike.sum(1)
    return unit[witnesses.argmax()] if witnesses.max() > 1 else None
