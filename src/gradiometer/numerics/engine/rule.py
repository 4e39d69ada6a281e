"""Rule: one operation of a network with the four passes that a second derivative needs.

For y = f(a; w) the passes of the R-operator are, with dots for derivatives along a direction (a move) in inputs and weights,

    forward   y = f(a; w)
    backward  delta_a = J_a' delta_y, and the gradient J_w' delta_y of the weights
    tangent   y. = J_a a. + J_w w.
    pull      delta_a. = J_a' delta_y. + (J_a'). delta_y

and what `pull` returns at the network's input is the derivative by the input of <w., dL/dw>. Rules keep what later passes
need; the passes are made in this order, each as often as wanted.

References:
    Pearlmutter, Fast Exact Multiplication by the Hessian, 1994.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

Moves = Tensor | None


@dataclass(kw_only=True, eq=False)
class Slot:
    """A trained tensor in the layout in which its rule computes.

    Args:
        name: of the parameter; value: in the rule's layout.
        own, natural: from the parameter's layout to the rule's, and back, as views where that is possible.
        gradient: where `backward` writes, None for a tensor that is not sent or whose gradient is never formed.
        move: direction in which `tangent` and `pull` go, None for none.
        change: where `collect` writes the gradient's derivative along the moves.
    """

    name: str
    value: Tensor
    own: Callable[[Tensor], Tensor] = lambda value: value
    natural: Callable[[Tensor], Tensor] = lambda value: value
    gradient: Tensor | None = None
    move: Tensor | None = None
    change: Tensor | None = None


class Rule:
    """The base of all rules: without weights, and nothing kept."""

    slots: tuple[Slot, ...] = ()

    def forward(self, *inputs: Tensor) -> Tensor:
        """The output."""
        raise NotImplementedError

    def backward(self, delta: Tensor, needed: bool) -> tuple[Tensor | None, ...]:
        """Derivatives by the inputs (None for those that nothing asks for, if not `needed`); fills `slot.gradient`."""
        raise NotImplementedError

    def tangent(self, *moves: Moves) -> Moves:
        """The output's move along the inputs' moves and the slots'; None for no move at all."""
        raise NotImplementedError

    def pull(self, delta: Tensor) -> tuple[Tensor | None, ...]:
        """The derivative of `backward` along the last moves, given that of the output's delta."""
        raise NotImplementedError

    def collect(self) -> None:
        """Fills `slot.change`, after a `pull`."""


def total(*parts: Moves) -> Moves:
    """The sum of what is there."""
    there = [part for part in parts if part is not None]
    return None if not there else sum(there[1:], there[0])


class Source(Rule):
    """A trained tensor that enters the computation by itself: an embedding of positions, a class token."""

    def __init__(self, slot: Slot) -> None:
        self.slots = (slot,)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.slots[0].value

    def backward(self, delta: Tensor, needed: bool) -> tuple[Tensor | None, ...]:
        if self.slots[0].gradient is not None:
            self.slots[0].gradient.copy_(delta)
        return ()

    def tangent(self, *moves: Moves) -> Moves:
        return self.slots[0].move

    def pull(self, delta: Tensor) -> tuple[Tensor | None, ...]:
        self._delta = delta
        return ()

    def collect(self) -> None:
        if self.slots[0].change is not None:
            self.slots[0].change.copy_(self._delta)


class Local(Rule):
    """Any differentiable function without weights; its four passes come from autograd on this one operation.

    The derivative of the pulled-back delta by that delta is J, which gives the tangent; that by the inputs is the second
    derivative that `pull` needs.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self._function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            self._inputs = [value.detach().requires_grad_() for value in inputs]
            self._output = self._function(*self._inputs)
        self._pulled: tuple[Tensor, ...] | None = None
        return self._output.detach()

    def backward(self, delta: Tensor, needed: bool) -> tuple[Tensor | None, ...]:
        with torch.enable_grad():
            self._delta = delta.detach().requires_grad_()
            self._pulled = torch.autograd.grad(
                self._output, self._inputs, self._delta, create_graph=True, materialize_grads=True
            )
        return tuple(value.detach() for value in self._pulled)

    def tangent(self, *moves: Moves) -> Moves:
        self._bend: Moves = None
        if self._pulled is None or all(move is None for move in moves):
            return None
        with torch.enable_grad():
            pairs = [(p, m) for p, m in zip(self._pulled, moves) if m is not None and p.requires_grad]
            bend = sum(((p * m).sum() for p, m in pairs), torch.zeros((), dtype=self._delta.dtype))
            (moved,) = torch.autograd.grad(bend, [self._delta], create_graph=False, retain_graph=True)
            self._bend = bend
        return moved

    def pull(self, delta: Tensor) -> tuple[Tensor | None, ...]:
        roots, weights = [self._output], [delta]
        if self._bend is not None and self._bend.requires_grad:
            roots, weights = [*roots, self._bend], [*weights, torch.ones_like(self._bend)]
        return torch.autograd.grad(roots, self._inputs, weights, retain_graph=True, materialize_grads=True)
