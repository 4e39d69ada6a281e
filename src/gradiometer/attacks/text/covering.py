"""Which of the sequences that lie in a span made it: those that fill it together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .body import Body
from .prefixes import Found
from .seeing import Seen

NEW = 1e-4
"""The least part of an input that lies beside all that others explain, for it to count as another direction."""


def covering(body: Body, seen: Seen, found: Sequence[Found], most: int | None) -> list[Found]:
    """Few sequences whose inputs fill the span, each time the one that adds most directions.

    Where places are not embedded (rotary positions), a token that is repeated sees only itself and enters every map as the first one does: such
    repetitions lie in the span of any sentence that begins so, and add nothing to it.

    Args:
        found: the nearest to the span first. most: how many there can be, where that is known.
    """
    left = {one.tokens: _coordinates(body, seen, one) for one in found if one.tokens}
    chosen: list[Found] = []
    while left and (most is None or len(chosen) < most):
        adds = {tokens: int((torch.linalg.svdvals(rows) > NEW).sum()) for tokens, rows in left.items()}
        tokens = max(adds, key=adds.__getitem__)  # the first of equals: the nearest to the span
        if not adds[tokens]:
            break
        chosen += [one for one in found if one.tokens == tokens]
        _, values, right = torch.linalg.svd(left.pop(tokens), full_matrices=False)
        known = right[values > NEW]
        left = {other: rows - rows @ known.T @ known for other, rows in left.items()}
    return chosen


def _coordinates(body: Body, seen: Seen, one: Found) -> Tensor:
    """The sequence's inputs [length, rank] in the span's own directions, each of length 1."""
    rows = body.inputs(torch.tensor([one.tokens]), None, seen.reader)[0]
    return rows @ seen.span.right.T / rows.norm(dim=1, keepdim=True)
