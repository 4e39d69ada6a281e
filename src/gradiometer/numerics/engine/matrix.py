"""Dense layers, with the weight gradient formed or not.

With rows X [r, in] and the derivatives Delta [r, out] of one layer, the gradient of its weights is G = Delta' X. A distance
that asks for inner products only has the cotangent along G + across T (T: what was sent), and then G need not exist:

    <G, T> = <Delta, X T'>,    |G|^2 = <Delta Delta', X X'>,
    X (along G + across T)' = along (X X') Delta + across X T',
    Delta (along G + across T) = along (Delta Delta') X + across Delta T.

This "ghost" form costs six products of the forward's size instead of seven, reads weights and T only, and pays while rows are
few against the width. Both forms are exact.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .packed import Packed
from .rule import Moves, Rule, Slot


class Matrix:
    """y = X W' on rows.

    Args:
        weight: [out, in].
        rows: how many come.
        ghost: never form the gradient; `send`, `along` and `across` are then set from outside.
    """

    def __init__(self, weight: Slot, rows: int, *, ghost: bool = False) -> None:
        self.slot, self.ghost, self._count = weight, ghost, rows
        self._up, self._down = Packed(weight.value, rows), Packed(weight.value.t(), rows)
        self.along = self.across = 0.0

    def send(self, sent: Tensor) -> None:
        """Takes T [out, in], what a ghost is compared with."""
        self._sent_up, self._sent_down = Packed(sent, self._count), Packed(sent.t(), self._count)

    def forward(self, rows: Tensor, bias: Tensor | None) -> Tensor:
        """[r, in] to [r, out]."""
        self._rows = rows
        return self._up(rows, bias)

    def backward(self, delta: Tensor, needed: bool) -> Tensor | None:
        """[r, out] to [r, in]; the gradient goes to the slot."""
        self._delta = delta
        if self.slot.gradient is not None and not self.ghost:
            torch.mm(delta.t(), self._rows, out=self.slot.gradient)
        return self._down(delta) if needed else None

    def products(self) -> Tensor:
        """<G, T> and |G|^2 of a ghost, [2]."""
        self._image, self._kernel = self._sent_up(self._rows), self._rows @ self._rows.t()
        self._overlap = self._delta @ self._delta.t()
        wide = torch.promote_types(self._delta.dtype, torch.float32)
        pair, own = self._delta * self._image, self._overlap * self._kernel
        return torch.stack([pair.sum(dtype=wide), own.sum(dtype=wide)])

    def tangent(self, move: Moves) -> Moves:
        """The move of y."""
        self._move = move
        moved = None if move is None else self._up(move)
        if self.ghost:
            own = torch.addmm(self._image, self._kernel, self._delta, alpha=self.along, beta=self.across)
            return own if moved is None else moved.add_(own)
        if self.slot.move is None:
            return moved
        if moved is None:
            return self._rows @ self.slot.move.t()
        return moved.addmm_(self._rows, self.slot.move.t())

    def pull(self, delta: Tensor) -> Tensor:
        """The move of the derivative by the rows."""
        self._delta_move = delta
        pulled = self._down(delta)
        if self.ghost:
            pulled.add_(self._sent_down(self._delta), alpha=self.across)
            return pulled.addmm_(self._overlap, self._rows, alpha=self.along)
        if self.slot.move is not None:
            pulled.addmm_(self._delta, self.slot.move)
        return pulled

    def collect(self) -> None:
        """The gradient's move."""
        if self.slot.change is not None:
            torch.mm(self._delta_move.t(), self._rows, out=self.slot.change)
            if self._move is not None:
                self.slot.change.addmm_(self._delta.t(), self._move)


class Bias:
    """A bias, one number an output."""

    def __init__(self, slot: Slot | None) -> None:
        self.slot = slot

    @property
    def value(self) -> Tensor | None:
        """[out], or None where there is no bias."""
        return None if self.slot is None else self.slot.value

    def backward(self, delta: Tensor) -> None:
        """delta [r, out]."""
        if self.slot is not None and self.slot.gradient is not None:
            torch.sum(delta, 0, out=self.slot.gradient)

    def tangent(self, move: Moves) -> Moves:
        """Adds its own move to rows [r, out]."""
        if self.slot is None or self.slot.move is None or move is None:
            return move
        return move.add_(self.slot.move)

    def collect(self, delta: Tensor) -> None:
        """From the move of delta."""
        if self.slot is not None and self.slot.change is not None:
            torch.sum(delta, 0, out=self.slot.change)


class Dense(Rule):
    """A linear layer on the last dimension of its input."""

    def __init__(self, weight: Slot, bias: Slot | None, rows: int, *, ghost: bool) -> None:
        self.slots = (weight,) if bias is None else (weight, bias)
        self.matrix, self._bias = Matrix(weight, rows, ghost=ghost), Bias(bias)

    def forward(self, *inputs: Tensor) -> Tensor:
        self._lead = inputs[0].shape[:-1]
        return self._shaped(self.matrix.forward(_rows(inputs[0]), self._bias.value))

    def _shaped(self, rows: Tensor) -> Tensor:
        return rows.view(*self._lead, -1)

    def backward(self, delta: Tensor, needed: bool) -> tuple[Tensor | None, ...]:
        rows = _rows(delta)
        self._bias.backward(rows)
        pulled = self.matrix.backward(rows, needed)
        return (None if pulled is None else self._shaped(pulled),)

    def tangent(self, *moves: Moves) -> Moves:
        moved = self.matrix.tangent(None if moves[0] is None else _rows(moves[0]))
        moved = self._bias.tangent(moved)
        return None if moved is None else self._shaped(moved)

    def pull(self, delta: Tensor) -> tuple[Tensor | None, ...]:
        self._delta_move = _rows(delta)
        return (self._shaped(self.matrix.pull(self._delta_move)),)

    def collect(self) -> None:
        self.matrix.collect()
        self._bias.collect(self._delta_move)


def _rows(value: Tensor) -> Tensor:
    return value.reshape(-1, value.shape[-1])
