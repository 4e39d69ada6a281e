"""3x3 convolutions of stride 1 with fewer multiplications, in all four passes.

Winograd's F(m x m, 3 x 3) computes m x m outputs of a tile of (m + 2)^2 inputs as y = A' [(G w G') * (B' x B)] A: with matrices
over channels in place of numbers, (m + 2)^2 products of [tiles, in] and [in, out] replace 9 m^2 of them, 2.25 times fewer for
m = 2 and 4 times for m = 4. The transforms are linear, so every pass has the same form: the transforms of x and delta that
forward and backward made serve the gradient and both tangents as well. Results are exact up to rounding: relative
errors of 5e-7 (m = 2) and 3e-6 (m = 4) in 32-bit floats. The outputs decide which ReLUs are open; for m = 4 they are computed
without transforms, so that rounding opens no other ones.

References:
    Lavin, Gray, Fast Algorithms for Convolutional Neural Networks, 2015, arXiv:1509.09308.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from .matrix import Bias
from .rows import Rows, last, numbers, picture, windows
from .rule import Moves, Rule, Slot
from .unfolded import Geometry

_MATRICES = {
    2: (
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
        [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
        [[1, 1, 1, 0], [0, 1, -1, -1]],
    ),
    4: (
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ],
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ],
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    ),
}


@cache
def matrices(m: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Of whole tiles: B [a a, a a], G [a a, 9] and A [a a, m m], with a = m + 2."""
    b, g, a = (torch.tensor(value, dtype=torch.float64) for value in _MATRICES[m])
    return tuple(torch.kron(value, value).to(dtype).contiguous() for value in (b, g, a.t()))  # type: ignore[return-value]


def slot_layout(value: Tensor) -> Tensor:
    """A kernel [out, in, 3, 3] as [9, out, in]."""
    return value.permute(2, 3, 0, 1).reshape(9, *value.shape[:2])


def slot_natural(value: Tensor) -> Tensor:
    """The inverse of `slot_layout`."""
    return value.view(3, 3, *value.shape[1:]).permute(2, 3, 0, 1)


class Winograd(Rule):
    """A 3x3 convolution of stride 1.

    Args:
        weight: [9, out, in].
        m: side of a tile's output, 2 or 4.
    """

    def __init__(self, weight: Slot, bias: Slot | None, geometry: Geometry, *, m: int) -> None:
        self.slots = (weight,) if bias is None else (weight, bias)
        self._weight, self._bias, self._m, self._side = weight, Bias(bias), m, m + 2
        self._n, self._inputs, self._height, self._width = geometry.shape
        self._outputs, self._padding = geometry.outputs, geometry.padding
        self._tall, self._wide = geometry.sides
        self._tiles = -(-self._tall // m), -(-self._wide // m)
        self._plain = slot_natural(weight.value).contiguous(memory_format=torch.channels_last)
        self._count = self._n * self._tiles[0] * self._tiles[1]
        self._b, self._g, self._a = matrices(m, weight.value.dtype)
        (up, left), (down, across) = geometry.padding, self._tiles
        n, height, width = self._n, self._height, self._width
        field = numbers(n, height, width, up, left, down * m + 2 - up - height, across * m + 2 - left - width)
        whole = numbers(n, self._tall, self._wide, 0, 0, down * m - self._tall, across * m - self._wide)
        overlapping = windows(field, (m + 2, m + 2), (m, m), (1, 1))
        side_by_side = windows(whole, (m, m), (m, m), (1, 1))
        self._inside = Rows(overlapping.permute(3, 4, 0, 1, 2), n * height * width)
        self._outside = Rows(side_by_side.permute(3, 4, 0, 1, 2), n * self._tall * self._wide)
        self._kernel = self._of_kernel(weight.value)

    def _of_kernel(self, value: Tensor) -> Tensor:
        """[9, out, in] to [a a, out, in]."""
        return (self._g @ value.view(9, -1)).view(-1, self._outputs, self._inputs)

    def _of_input(self, value: Tensor) -> Tensor:
        """[n, in, h, w] to [a a, tiles, in]."""
        tiles = self._inside.take(last(value)).view(self._side**2, -1)
        return (self._b @ tiles).view(-1, self._count, self._inputs)

    def _to_input(self, tiles: Tensor) -> Tensor:
        """The transpose of `_of_input`."""
        spread = self._b.t() @ tiles.view(self._side**2, -1)
        return picture(self._inside.put(spread.view(-1, self._inputs)), self._n, self._height, self._width)

    def _of_output(self, rows: Tensor) -> Tensor:
        """[n h w, out] to [a a, tiles, out]."""
        tiles = self._outside.take(rows).view(self._m**2, -1)
        return (self._a @ tiles).view(-1, self._count, self._outputs)

    def _to_output(self, products: Tensor) -> Tensor:
        """[a a, tiles, out] to [n h w, out]."""
        return self._outside.put((self._a.t() @ products.view(len(products), -1)).view(-1, self._outputs))

    def _picture(self, rows: Tensor) -> Tensor:
        return picture(rows, self._n, self._tall, self._wide)

    def forward(self, *inputs: Tensor) -> Tensor:
        self._input = self._of_input(inputs[0])
        if self._m > 2:
            return F.conv2d(inputs[0], self._plain, self._bias.value, 1, self._padding)
        result = self._to_output(self._input @ self._kernel.mT)
        return self._picture(result if self._bias.value is None else result + self._bias.value)

    def backward(self, delta: Tensor, needed: bool) -> tuple[Tensor | None, ...]:
        rows = last(delta)
        self._bias.backward(rows)
        self._delta = self._of_output(rows)
        if self._weight.gradient is not None:
            products = (self._delta.mT @ self._input).view(self._side**2, -1)
            torch.mm(self._g.t(), products, out=self._weight.gradient.view(9, -1))
        return (self._to_input(self._delta @ self._kernel) if needed else None,)

    def tangent(self, *moves: Moves) -> Moves:
        self._move = None if moves[0] is None else self._of_input(moves[0])
        self._turn = None if self._weight.move is None else self._of_kernel(self._weight.move)
        products = None if self._move is None else self._move @ self._kernel.mT
        if self._turn is not None:
            own = self._turn.mT
            products = self._input @ own if products is None else products.baddbmm_(self._input, own)
        moved = self._bias.tangent(None if products is None else self._to_output(products))
        return None if moved is None else self._picture(moved)

    def pull(self, delta: Tensor) -> tuple[Tensor | None, ...]:
        self._rows_move = last(delta)
        self._delta_move = self._of_output(self._rows_move)
        products = self._delta_move @ self._kernel
        if self._turn is not None:
            products.baddbmm_(self._delta, self._turn)
        return (self._to_input(products),)

    def collect(self) -> None:
        self._bias.collect(self._rows_move)
        if self._weight.change is not None:
            products = self._delta_move.mT @ self._input
            if self._move is not None:
                products.baddbmm_(self._delta.mT, self._move)
            torch.mm(self._g.t(), products.view(self._side**2, -1), out=self._weight.change.view(9, -1))
