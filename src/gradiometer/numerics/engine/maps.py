"""Rules of linear maps without weights: sums, multiples, other shapes and orders, and any other through autograd."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .rule import Moves, Rule, total


class Linear(Rule):
    """A linear map without weights, given as any function; its transpose comes from autograd.

    Args:
        function: linear in all its inputs together.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self._function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        with torch.enable_grad():
            self._inputs = [value.detach().requires_grad_() for value in inputs]
            self._output = self._function(*self._inputs)
        return self._output.detach()

    def backward(self, delta: Tensor, needed: bool) -> tuple[Tensor | None, ...]:
        return torch.autograd.grad(self._output, self._inputs, delta, retain_graph=True, materialize_grads=True)

    def tangent(self, *moves: Moves) -> Moves:
        if all(move is None for move in moves):
            return None
        return self._function(*(torch.zeros_like(a) if m is None else m for m, a in zip(moves, self._inputs)))

    def pull(self, delta: Tensor) -> tuple[Tensor | None, ...]:
        return self.backward(delta, True)


class Times(Rule):
    """A multiple of the input."""

    def __init__(self, factor: float) -> None:
        self._factor = factor

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0] * self._factor

    def backward(self, delta: Tensor, needed: bool) -> tuple[Tensor | None, ...]:
        return (delta * self._factor,)

    def tangent(self, *moves: Moves) -> Moves:
        return None if moves[0] is None else moves[0] * self._factor

    def pull(self, delta: Tensor) -> tuple[Tensor | None, ...]:
        return (delta * self._factor,)


class Reshape(Rule):
    """Keeps the numbers and their order."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        self._shape = inputs[0].shape
        return self._function(inputs[0])

    def backward(self, delta: Tensor, needed: bool) -> tuple[Tensor | None, ...]:
        return (delta.reshape(self._shape),)

    def tangent(self, *moves: Moves) -> Moves:
        return None if moves[0] is None else self._function(moves[0])

    def pull(self, delta: Tensor) -> tuple[Tensor | None, ...]:
        return (delta.reshape(self._shape),)


class Permuted(Rule):
    """Another order of the dimensions.

    Args:
        order: as `permute` takes it.
    """

    def __init__(self, order: tuple[int, ...]) -> None:
        self._order = order
        self._back = tuple(order.index(i) for i in range(len(order)))

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0].permute(self._order)

    def backward(self, delta: Tensor, needed: bool) -> tuple[Tensor | None, ...]:
        return (delta.permute(self._back),)

    def tangent(self, *moves: Moves) -> Moves:
        return None if moves[0] is None else moves[0].permute(self._order)

    def pull(self, delta: Tensor) -> tuple[Tensor | None, ...]:
        return (delta.permute(self._back),)


class Sum(Rule):
    """The sum of inputs, broadcast to one shape, with any constant that `function` adds."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self._function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        self._shapes = [value.shape for value in inputs]
        result = self._function(*inputs)
        self._shape = result.shape
        return result

    def backward(self, delta: Tensor, needed: bool) -> tuple[Tensor | None, ...]:
        return tuple(delta if delta.shape == shape else delta.sum_to_size(shape) for shape in self._shapes)

    def tangent(self, *moves: Moves) -> Moves:
        moved = total(*moves)
        return moved if moved is None or moved.shape == self._shape else moved.expand(self._shape)

    def pull(self, delta: Tensor) -> tuple[Tensor | None, ...]:
        return self.backward(delta, True)
