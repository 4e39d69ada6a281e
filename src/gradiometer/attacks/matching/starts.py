"""Where the optimization starts. A good start is worth more than a good optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gradiometer.core import Attack, Field, NotApplicable, Update

Start = Literal["randn", "gray", "mean", "patterned", "zeros"]
TILE = 4
NOISE = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadStart:
    """What another attack found: pictures [n, *shape] and labels [n], each None where it found none; and how.

    `exact`: there is nothing left to descend; that attack verified that its guess causes the update that was sent.
    """

    x: Tensor | None
    y: Tensor | None
    way: str
    exact: bool = False


def head_start(attack: Attack, update: Update, rng: torch.Generator) -> HeadStart:
    """Runs the attack. A refusal, or another number of examples than stands behind the update, is no start, but told.

    Where labels are granted, pictures take the places of their labels.
    """
    name = type(attack).__name__
    try:
        guess = attack.run(update, rng)
    except NotApplicable as refusal:
        return HeadStart(x=None, y=None, way=f"{name} refused: {refusal.message}")
    wrong = {key: len(value) for key, value in guess.tensors.items() if len(value) != update.need("batch_size")}
    if wrong:
        return HeadStart(x=None, y=None, way=f"{name} found {max(wrong.values())} examples of {update.batch_size}")
    x, y = guess.tensors.get("x"), guess.tensors.get("y")
    if x is None:
        return HeadStart(x=None, y=y, way=f"{name} found no pictures")
    exact, granted = guess.notes.get("exact") is True, update.labels
    if y is not None and granted is not None:
        if not torch.equal(y.sort().values, granted.cpu().sort().values):
            return HeadStart(x=None, y=None, way=f"{name} found other labels than the granted ones")
        x = x[y.argsort()[granted.cpu().argsort().argsort()]]
    return HeadStart(x=x, y=y, way=f"{name}, exact" if exact else name, exact=exact)


def picture_start(
    kind: Start,
    update: Update,
    field: Field,
    *,
    like: Tensor,
    again: bool,
    rng: torch.Generator,
    x: Tensor | None = None,
) -> Tensor:
    """A first guess of all pictures, in normalized units.

    Args:
        kind: `randn`, normal noise; `gray`, the middle of the legal range; `mean`, the public mean picture;
            `patterned`, one random 4 x 4 tile repeated (Wei et al. 2020, arXiv:2004.10397); `zeros`.
        like: dtype and device of the result, [n, channels, height, width].
        x: pictures to start from instead.
        again: a further start of the same attack; constant starts get noise of a tenth, to be a start of their own.

    Raises:
        MissingKnowledge: `mean` without public data.
    """
    shape = like.shape
    if x is not None:
        start = x.to(like)
    elif kind == "randn":
        return torch.randn(shape, generator=rng).to(like)
    elif kind == "patterned":
        tile = torch.randn(*shape[:2], TILE, TILE, generator=rng)
        times = [-(-side // TILE) for side in shape[2:]]
        return tile.repeat(1, 1, *times)[..., : shape[2], : shape[3]].contiguous().to(like)
    elif kind == "mean":
        start = update.need("public")["x"].mean(0, keepdim=True).to(like).expand(shape).contiguous()
    elif kind == "gray":
        start = field.normalize(torch.full_like(like, (field.low + field.high) / 2))
    else:
        start = torch.zeros_like(like)
    return start + NOISE * torch.randn(shape, generator=rng).to(like) if again else start
