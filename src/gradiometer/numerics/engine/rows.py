"""Rearranging the rows of a matrix by index, and the transpose: windows and tiles of pictures.

A picture [n, c, h, w] with channels last in memory is a matrix [n h w, c]; a window or a tile takes some of its rows, and the
transpose adds rows back to where they came from. Both are single calls of kernels made for embeddings.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


class Rows:
    """Takes rows by number.

    Args:
        index: numbers of rows of the source, any shape; -1 takes a row of zeros.
        count: rows of the source.
    """

    def __init__(self, index: Tensor, count: int) -> None:
        flat = index.reshape(-1)
        inside = (flat >= 0).nonzero()[:, 0]
        order = inside[flat[inside].argsort(stable=True)]
        counts = torch.bincount(flat[inside], minlength=count)
        self._padded: Tensor | None = None
        self._pads, self._count = len(inside) < len(flat), count
        self._index = torch.where(flat < 0, count, flat).int()
        self._back, self._begin = order.int(), (counts.cumsum(0) - counts).int()
        self._once = bool((counts == 1).all())

    def take(self, source: Tensor) -> Tensor:
        """[count, c] to [entries of the index, c]."""
        if self._pads:
            if self._padded is None:
                self._padded = source.new_zeros(self._count + 1, source.shape[1])
            self._padded[: self._count].copy_(source)
            source = self._padded
        return source.index_select(0, self._index)

    def put(self, rows: Tensor) -> Tensor:
        """[entries of the index, c] to [count, c], adding up what came from the same row."""
        if self._once:
            return rows.index_select(0, self._back)
        return torch.embedding_bag(rows, self._back, self._begin, mode=0)[0]  # 0: sums


def numbers(n: int, height: int, width: int, up: int, left: int, down: int, right: int) -> Tensor:
    """Row numbers of n pictures [n, up + height + down, left + width + right], -1 in the border."""
    inside = torch.arange(n * height * width).view(n, height, width)
    return F.pad(inside + 1, (left, right, up, down)) - 1


def windows(field: Tensor, size: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]) -> Tensor:
    """All windows of a field of numbers [n, h, w], as [n, down, across, *size]."""
    for axis in (0, 1):
        reach = dilation[axis] * (size[axis] - 1) + 1
        field = field.unfold(1 + axis, reach, stride[axis])
    return field[..., :: dilation[0], :: dilation[1]]


def last(picture: Tensor) -> Tensor:
    """[n, c, h, w] as rows [n h w, c]."""
    return picture.permute(0, 2, 3, 1).reshape(-1, picture.shape[1])


def picture(rows: Tensor, n: int, height: int, width: int) -> Tensor:
    """Rows [n h w, c] as [n, c, h, w], channels last in memory."""
    return rows.view(n, height, width, -1).permute(0, 3, 1, 2)
