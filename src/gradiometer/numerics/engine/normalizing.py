"""Normalization: with the statistics of what is normalized, and the affine map of fixed statistics and trained scales."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .rule import Moves, Rule, Slot, total

aten = torch.ops.aten


class Normalized(Rule):
    """y = (z - mean) / sqrt(variance + eps) over groups of entries: batch, layer and group normalization.

    With r = 1 / sqrt(variance + eps) and means m over a group, backward is r (delta - m(delta) - y m(delta y)), and the move
    of r is -r^2 m(y z.).

    Args:
        grouped, back: to [..., entries of a group] in its last dimension, and back to the shape of z.
    """

    def __init__(self, grouped: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor], eps: float) -> None:
        self._grouped, self._back, self._eps = grouped, back, eps

    def forward(self, *inputs: Tensor) -> Tensor:
        self._input = self._grouped(inputs[0]).contiguous()
        self._size = [self._input.shape[-1]]
        self._output, self._mean, self._inverse = torch.native_layer_norm(
            self._input, self._size, None, None, self._eps
        )
        return self._back(self._output)

    def _through(self, value: Tensor) -> Tensor:
        """J value = J' value, J being symmetric: inverse * (value - m(value) - y m(value y))."""
        wanted = [True, False, False]
        return aten.native_layer_norm_backward(
            value, self._input, self._size, self._mean, self._inverse, None, None, wanted
        )[0]

    def backward(self, delta: Tensor, needed: bool) -> tuple[Tensor | None, ...]:
        self._delta = self._grouped(delta).contiguous()
        self._passed = self._through(self._delta)
        return (self._back(self._passed),)

    def tangent(self, *moves: Moves) -> Moves:
        self._move: Moves = None
        if moves[0] is None:
            return None
        z = self._grouped(moves[0]).contiguous()
        self._move = self._through(z)
        self._stretch = _mean(z, self._output) * self._inverse
        return self._back(self._move)

    def pull(self, delta: Tensor) -> tuple[Tensor | None, ...]:
        pulled = self._through(self._grouped(delta).contiguous())
        if self._move is not None:
            y, moved, before, inverse = self._output, self._move, self._delta, self._inverse
            pulled.addcmul_(moved, _mean(before, y) * inverse, value=-1)
            pulled.addcmul_(y, _mean(before, moved) * inverse, value=-1)
            pulled.addcmul_(self._passed, self._stretch, value=-1)
        return (self._back(pulled),)


def _mean(a: Tensor, b: Tensor) -> Tensor:
    """m(a b)."""
    return (a * b).mean(-1, keepdim=True)


class Scaled(Rule):
    """y = gamma (z - mean) inverse + beta, the statistics being constants: normalization in eval mode, or the scales of one.

    Args:
        weight, bias: gamma and beta, None where there are none.
        mean, inverse: of the statistics, broadcastable to z; None for 0 and 1.
        dims: of z, over which gamma is the same.
        shape: of gamma, to be broadcast to z.
    """

    def __init__(
        self,
        weight: Slot | None,
        bias: Slot | None,
        mean: Tensor | None,
        inverse: Tensor | None,
        dims: Sequence[int],
        shape: tuple[int, ...],
    ) -> None:
        self.slots = tuple(slot for slot in (weight, bias) if slot is not None)
        self._weight, self._bias, self._dims, self._shape = weight, bias, list(dims), shape
        self._mean, self._inverse = mean, inverse
        scale = inverse if weight is None else weight.value.reshape(shape) * (1 if inverse is None else inverse)
        offset = None if bias is None else bias.value.reshape(shape)
        if mean is not None and scale is not None:
            offset = -mean * scale if offset is None else offset - mean * scale
        self._scale, self._offset = scale, offset

    def forward(self, *inputs: Tensor) -> Tensor:
        (self._input,) = inputs
        if self._scale is None or self._offset is None:
            return inputs[0] if self._scale is None else inputs[0] * self._scale
        return torch.addcmul(self._offset, inputs[0], self._scale)

    def backward(self, delta: Tensor, needed: bool) -> tuple[Tensor | None, ...]:
        self._delta = delta
        for slot, value in self._gradients(delta, delta * self._input if self._asks else None):
            if slot.gradient is not None:
                slot.gradient.copy_(value)
        return (self._through(delta) if needed else None,)

    @property
    def _asks(self) -> bool:
        return self._weight is not None and (self._weight.gradient is not None or self._weight.change is not None)

    def _gradients(self, delta: Tensor, product: Tensor | None) -> list[tuple[Slot, Tensor]]:
        """Gradients of bias and weight from delta and from delta z."""
        result, summed = [], delta.sum(self._dims)
        if self._bias is not None:
            result.append((self._bias, summed.reshape(self._bias.value.shape)))
        if self._weight is not None and product is not None:
            own = product.sum(self._dims)
            if self._mean is not None:
                own = own - self._mean.reshape(own.shape) * summed
            if self._inverse is not None:
                own = own * self._inverse.reshape(own.shape)
            result.append((self._weight, own.reshape(self._weight.value.shape)))
        return result

    def _through(self, value: Tensor) -> Tensor:
        return value if self._scale is None else value * self._scale

    def tangent(self, *moves: Moves) -> Moves:
        (self._move,) = moves
        weight = None if self._weight is None else self._weight.move
        shift = None if self._bias is None or self._bias.move is None else self._bias.move.reshape(self._shape)
        self._turn = None
        if weight is not None:
            self._turn = weight.reshape(self._shape) * (1 if self._inverse is None else self._inverse)
            if self._mean is not None:
                shift = -self._mean * self._turn if shift is None else shift - self._mean * self._turn
        if self._turn is None:
            return total(None if self._move is None else self._through(self._move), shift)
        moved = self._input * self._turn if shift is None else torch.addcmul(shift, self._input, self._turn)
        if self._move is None:
            return moved
        return moved.add_(self._move) if self._scale is None else moved.addcmul_(self._move, self._scale)

    def pull(self, delta: Tensor) -> tuple[Tensor | None, ...]:
        self._delta_move = delta
        pulled = self._through(delta)
        return (pulled if self._turn is None else torch.addcmul(pulled, self._delta, self._turn),)

    def collect(self) -> None:
        product = self._delta_move * self._input
        if self._move is not None:
            product = torch.addcmul(product, self._delta, self._move)
        for slot, value in self._gradients(self._delta_move, product):
            if slot.change is not None:
                slot.change.copy_(value)
