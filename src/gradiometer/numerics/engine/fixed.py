"""Operations without weights that are worth a rule of their own: max pooling, matrix products, softmax."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .rule import Moves, Rule

aten = torch.ops.aten


class MaxPooled(Rule):
    """Max pooling of [n, channels, height, width]: moves follow the entry that won."""

    def __init__(self, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> None:
        def pair(value: Any) -> list[int]:
            return [value, value] if isinstance(value, int) else list(value)

        self._kernel, self._padding, self._dilation, self._ceil = pair(kernel), pair(padding), pair(dilation), ceil
        self._stride = pair(stride) if stride else self._kernel

    def forward(self, *inputs: Tensor) -> Tensor:
        (self._input,) = inputs
        output, self._places = F.max_pool2d_with_indices(
            self._input, self._kernel, self._stride, self._padding, self._dilation, self._ceil
        )
        return output

    def backward(self, delta: Tensor, needed: bool) -> tuple[Tensor | None, ...]:
        settings = self._kernel, self._stride, self._padding, self._dilation, self._ceil
        return (aten.max_pool2d_with_indices_backward(delta, self._input, *settings, self._places),)

    def tangent(self, *moves: Moves) -> Moves:
        if moves[0] is None:
            return None
        flat = moves[0].flatten(2).gather(2, self._places.flatten(2))
        return flat.reshape(self._places.shape)

    def pull(self, delta: Tensor) -> tuple[Tensor | None, ...]:
        return self.backward(delta, True)


class Product(Rule):
    """a @ b of two inputs with equal leading dimensions."""

    def forward(self, *inputs: Tensor) -> Tensor:
        self._a, self._b = inputs
        return self._a @ self._b

    def backward(self, delta: Tensor, needed: bool) -> tuple[Tensor | None, ...]:
        self._delta = delta
        return delta @ self._b.mT, self._a.mT @ delta

    def tangent(self, *moves: Moves) -> Moves:
        self._moves = moves
        first, second = moves
        moved = None if first is None else first @ self._b
        if second is not None:
            moved = self._a @ second if moved is None else moved + self._a @ second
        return moved

    def pull(self, delta: Tensor) -> tuple[Tensor | None, ...]:
        by_a, by_b = delta @ self._b.mT, self._a.mT @ delta
        first, second = self._moves
        if second is not None:
            by_a += self._delta @ second.mT
        if first is not None:
            by_b += first.mT @ self._delta
        return by_a, by_b


class Softmax(Rule):
    """softmax over the last dimension: J v = p (v - <p, v>), which is its own transpose."""

    def forward(self, *inputs: Tensor) -> Tensor:
        self._p = inputs[0].softmax(-1)
        return self._p

    def _through(self, value: Tensor) -> Tensor:
        weighted = self._p * value
        return torch.addcmul(weighted, self._p, weighted.sum(-1, keepdim=True), value=-1)

    def backward(self, delta: Tensor, needed: bool) -> tuple[Tensor | None, ...]:
        self._delta = delta
        return (self._through(delta),)

    def tangent(self, *moves: Moves) -> Moves:
        self._move = None if moves[0] is None else self._through(moves[0])
        return self._move

    def pull(self, delta: Tensor) -> tuple[Tensor | None, ...]:
        pulled = self._through(delta)
        if self._move is not None:
            p, before, moved = self._p, self._delta, self._move
            pulled += moved * (before - (p * before).sum(-1, keepdim=True))
            pulled -= p * (moved * before).sum(-1, keepdim=True)
        return (pulled,)
