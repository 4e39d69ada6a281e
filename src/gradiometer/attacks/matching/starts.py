"""Where the optimization starts. A good start is worth more than a good optimizer."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gradiometer.core import Field, Update

Start = Literal["randn", "gray", "mean", "patterned", "zeros"]
TILE = 4
NOISE = 0.1


def picture_start(
    kind: Start, update: Update, field: Field, *, like: Tensor, again: bool, rng: torch.Generator
) -> Tensor:
    """A first guess of all pictures, in normalized units.

    Args:
        kind: `randn`, normal noise; `gray`, the middle of the legal range; `mean`, the public mean picture;
            `patterned`, one random 4 x 4 tile repeated (Wei et al. 2020, arXiv:2004.10397); `zeros`.
        like: dtype and device of the result, [n, channels, height, width].
        again: a further start of the same attack; constant starts get noise of a tenth, to be a start of their own.

    Raises:
        MissingKnowledge: `mean` without public data.
    """
    shape = like.shape
    if kind == "randn":
        return torch.randn(shape, generator=rng).to(like)
    if kind == "patterned":
        tile = torch.randn(*shape[:2], TILE, TILE, generator=rng)
        times = [-(-side // TILE) for side in shape[2:]]
        return tile.repeat(1, 1, *times)[..., : shape[2], : shape[3]].contiguous().to(like)
    if kind == "mean":
        start = update.need("public")["x"].mean(0, keepdim=True).to(like).expand(shape).contiguous()
    elif kind == "gray":
        start = field.normalize(torch.full_like(like, (field.low + field.high) / 2))
    else:
        start = torch.zeros_like(like)
    return start + NOISE * torch.randn(shape, generator=rng).to(like) if again else start
