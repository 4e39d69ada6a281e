"""What a ReLU's output tells of its own error, and what a stride and the BatchNorm behind it hide of it.

A constant on one class of a stride's positions adds a constant to every output, unless the padding shows it, and
BatchNorm takes that away. Behind a ReLU the smallest value of a channel is 0, and it occurs again and again. Where it
does not, no unit is closed, and the offset is guessed: the class gets the mean of the channel's other positions. The
guess changes nothing above.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .checksum import BORDER
from .graph import Layer


def noise(maps: Tensor) -> float:
    """Standard error of a ReLU's output: what is negative is so by error alone."""
    below = maps[maps < 0]
    return float(-below.quantile(0.01)) / 2.58 if len(below) else 0.0


def unhidden(value: Tensor, readers: Sequence[Layer], error: Tensor) -> tuple[Tensor, Tensor]:
    """Moves every class of positions whose common offset the readers hide to where its smallest value is 0.

    Args:
        value: output of a ReLU [n, channels, height, width]; readers: convolutions, each with BatchNorm behind it.
        error: expected, in the shape of `value`.

    Returns:
        The tensor, and where its offset stays a guess.
    """
    guessed = torch.zeros_like(value, dtype=torch.bool)
    strides = {r.stride for r in readers}
    if strides == {(1, 1)} or len(strides) > 1:
        return value, guessed
    ((down, across),) = strides
    value = value.clone()
    classes = [(..., slice(y, None, down), slice(x, None, across)) for y in range(down) for x in range(across)]
    for place in classes:
        mark = torch.zeros_like(value[:1])
        mark[place] = 1
        moved = [r.linear(mark) for r in readers]
        if all(torch.allclose(m, m[..., :1, :1].expand_as(m), atol=1e-12) for m in moved):
            part = value[place] - value[place].amin((0, 2, 3), keepdim=True)
            tolerance = BORDER * error[place]
            least = part < 2 * tolerance
            count = least.sum((0, 2, 3), keepdim=True)
            part, closed = part - (part * least).sum((0, 2, 3), keepdim=True) / count, count > 1
            others = (value * (1 - mark)).sum((0, 2, 3), keepdim=True) / (1 - mark).sum() / len(value)
            offset = (others - part.mean((0, 2, 3), keepdim=True)).clamp_min(2 * float(tolerance.max()))
            value[place] = torch.where(closed, part, part + offset)
            guessed[place] = ~closed
    return value, guessed
