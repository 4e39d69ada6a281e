"""Convolutions as dense layers on unfolded windows, and by torch's own kernels.

Pictures are [n, channels, height, width] with channels last in memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .matrix import Bias, Matrix
from .rows import Rows, last, numbers, picture, windows
from .rule import Moves, Rule, Slot

Pair = tuple[int, int]
aten = torch.ops.aten


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Shape [n, channels, height, width] of a convolution's input, its outputs, and how its kernel goes over it."""

    shape: tuple[int, int, int, int]
    outputs: int
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    @property
    def sides(self) -> Pair:
        """Height and width of the output."""
        reach = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel)]
        height, width = (
            (side + 2 * p - r) // s + 1 for side, p, r, s in zip(self.shape[2:], self.padding, reach, self.stride)
        )
        return height, width


class Windows:
    """Gathers every window of a picture into a row, and adds rows back to pictures."""

    def __init__(self, geometry: Geometry) -> None:
        g, (n, _, height, width) = geometry, geometry.shape
        (up, left), self._sides = g.padding, (n, height, width)
        self._geometry = g
        self._frame: tuple[Tensor, Tensor] | None = None
        found = windows(numbers(n, height, width, up, left, up, left), g.kernel, g.stride, g.dilation)
        self.count = n * g.sides[0] * g.sides[1]
        self._rows = None if g.kernel == g.stride == (1, 1) and not any(g.padding) else Rows(found, n * height * width)

    def gather(self, value: Tensor) -> Tensor:
        """[n, c, h, w] to [count, kernel * kernel * c]."""
        if self._rows is None:
            return last(value)
        if self._frame is None:
            self._frame = self._framed(value)
        room, seen = self._frame
        room.copy_(value.permute(0, 2, 3, 1))
        return seen.clone(memory_format=torch.contiguous_format).view(self.count, -1)  # later passes read it again

    def _framed(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Room for the picture in a frame of zeros, and all windows as a view of it: a window's row lies together in memory."""
        g, (n, height, width), channels = self._geometry, self._sides, value.shape[1]
        up, left = g.padding
        tall, wide = height + 2 * up, width + 2 * left
        framed = value.new_zeros(n, tall, wide, channels)
        across, down = channels, wide * channels
        seen = framed.as_strided(
            (n, *g.sides, *g.kernel, channels),
            (tall * down, g.stride[0] * down, g.stride[1] * across, g.dilation[0] * down, g.dilation[1] * across, 1),
        )
        return framed[:, up : up + height, left : left + width], seen

    def scatter(self, rows: Tensor, channels: int) -> Tensor:
        """The transpose of `gather`."""
        rows = rows if self._rows is None else self._rows.put(rows.view(-1, channels))
        return picture(rows, *self._sides)


def slot_layout(value: Tensor) -> Tensor:
    """A kernel [out, in, k, k] as [out, k * k * in]."""
    return value.permute(0, 2, 3, 1).reshape(value.shape[0], -1)


class Unfolded(Rule):
    """A convolution without groups as a matrix on windows.

    Args:
        weight: [out, k * k * in].
    """

    def __init__(self, weight: Slot, bias: Slot | None, geometry: Geometry, *, ghost: bool) -> None:
        self.slots = (weight,) if bias is None else (weight, bias)
        self._windows, self._bias = Windows(geometry), Bias(bias)
        self.matrix = Matrix(weight, self._windows.count, ghost=ghost)
        self._out, self._channels = (geometry.shape[0], *geometry.sides), geometry.shape[1]

    def _picture(self, rows: Tensor) -> Tensor:
        return picture(rows, *self._out)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self._picture(self.matrix.forward(self._windows.gather(inputs[0]), self._bias.value))

    def backward(self, delta: Tensor, needed: bool) -> tuple[Tensor | None, ...]:
        rows = last(delta)
        self._bias.backward(rows)
        pulled = self.matrix.backward(rows, needed)
        return (None if pulled is None else self._windows.scatter(pulled, self._channels),)

    def tangent(self, *moves: Moves) -> Moves:
        moved = self.matrix.tangent(None if moves[0] is None else self._windows.gather(moves[0]))
        moved = self._bias.tangent(moved)
        return None if moved is None else self._picture(moved)

    def pull(self, delta: Tensor) -> tuple[Tensor | None, ...]:
        self._delta_move = last(delta)
        return (self._windows.scatter(self.matrix.pull(self._delta_move), self._channels),)

    def collect(self) -> None:
        self.matrix.collect()
        self._bias.collect(self._delta_move)


class Direct(Rule):
    """Any convolution by torch's kernels.

    Args:
        weight: [out, k * k * in / groups].
    """

    def __init__(self, weight: Slot, bias: Slot | None, geometry: Geometry) -> None:
        self.slots = (weight,) if bias is None else (weight, bias)
        self._weight, self._bias, self._g = weight, Bias(bias), geometry
        self._kernel = self._natural(weight.value)

    def _natural(self, value: Tensor) -> Tensor:
        """[out, in / groups, k, k], channels last."""
        return value.view(self._g.outputs, *self._g.kernel, -1).permute(0, 3, 1, 2)

    def _conv(self, value: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
        g = self._g
        return F.conv2d(value, kernel, bias, g.stride, g.padding, g.dilation, g.groups)

    def _pulled(self, delta: Tensor, value: Tensor, kernel: Tensor, *wanted: bool) -> tuple[Tensor | None, ...]:
        """The derivatives by input and kernel that are wanted."""
        g = self._g
        settings = None, g.stride, g.padding, g.dilation, False, (0, 0), g.groups, (*wanted, False)
        found: tuple[Tensor | None, ...] = aten.convolution_backward(delta, value, kernel, *settings)
        return found[:2]

    def _by_input(self, delta: Tensor, kernel: Tensor) -> Tensor:
        pulled, _ = self._pulled(delta, self._input, kernel, True, False)
        assert pulled is not None
        return pulled

    def _by_kernel(self, delta: Tensor, value: Tensor) -> Tensor:
        _, pulled = self._pulled(delta, value, self._kernel, False, True)
        assert pulled is not None
        return pulled

    def forward(self, *inputs: Tensor) -> Tensor:
        self._input = inputs[0].contiguous(memory_format=torch.channels_last)
        return self._conv(self._input, self._kernel, self._bias.value)

    def backward(self, delta: Tensor, needed: bool) -> tuple[Tensor | None, ...]:
        self._delta = delta = delta.contiguous(memory_format=torch.channels_last)
        self._bias.backward(last(delta))
        forms = self._weight.gradient is not None
        pulled, gradient = self._pulled(delta, self._input, self._kernel, needed, forms)
        if self._weight.gradient is not None and gradient is not None:
            self._natural(self._weight.gradient).copy_(gradient)
        return (pulled,)

    def tangent(self, *moves: Moves) -> Moves:
        (self._move,) = moves
        moved = None if self._move is None else self._conv(self._move, self._kernel)
        if self._weight.move is not None:
            own = self._conv(self._input, self._natural(self._weight.move))
            moved = own if moved is None else moved.add_(own)
        if moved is not None and self._bias.slot is not None and self._bias.slot.move is not None:
            moved = moved + self._bias.slot.move.view(-1, 1, 1)
        return moved

    def pull(self, delta: Tensor) -> tuple[Tensor | None, ...]:
        self._delta_move = delta = delta.contiguous(memory_format=torch.channels_last)
        pulled = self._by_input(delta, self._kernel)
        if self._weight.move is not None:
            pulled = pulled + self._by_input(self._delta, self._natural(self._weight.move))
        return (pulled,)

    def collect(self) -> None:
        self._bias.collect(last(self._delta_move))
        if self._weight.change is not None:
            change = self._by_kernel(self._delta_move, self._input)
            if self._move is not None:
                change = change + self._by_kernel(self._delta, self._move)
            self._natural(self._weight.change).copy_(change)
