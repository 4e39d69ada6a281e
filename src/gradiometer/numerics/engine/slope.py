"""The map from the unknown to the update, linear around one point: what Gauss-Newton steps are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from gradiometer.core import Values

from .condition import Conditioner
from .eager import Eager
from .fast import Fast
from .point import Decode


@runtime_checkable
class Slope(Protocol):
    """Residual and Jacobian at a point, both relative to the length of what was sent.

    `residual`: (s - t) / |t|, flat; its squared length is the distance `SquaredL2`.
    """

    residual: Tensor

    def push(self, moves: Sequence[Tensor]) -> Tensor:
        """J v, flat, for a move of every unknown."""
        ...

    def pull(self, weights: Tensor) -> list[Tensor]:
        """J' w for every unknown, for w as `residual`."""
        ...

    def conditioned(self, moves: Sequence[Tensor]) -> list[Tensor]:
        """Moves multiplied by a symmetric positive approximation of (J' J)^-1, up to a factor."""
        ...


class FastSlope:
    """Of pictures with known labels, by the passes of the R-operator.

    Args:
        fast: without ghosts; it serves one slope at a time.
        x, y: the batch.
        conditioner: for moves of the pictures.
    """

    def __init__(self, fast: Fast, x: Tensor, y: Tensor, conditioner: Conditioner | None = None) -> None:
        self._fast, self._conditioner, self._unit = fast, conditioner, 1 / max(fast.length, 1e-30) ** 0.5
        fast.begin(x, y)
        self.residual = fast.difference() * self._unit

    def push(self, moves: Sequence[Tensor]) -> Tensor:
        """See `Slope`."""
        return self._fast.change_along(moves[0]).mul_(self._unit)

    def pull(self, weights: Tensor) -> list[Tensor]:
        """See `Slope`."""
        return [self._fast.weighted(weights).mul_(self._unit)]

    def conditioned(self, moves: Sequence[Tensor]) -> list[Tensor]:
        """See `Slope`."""
        return list(moves) if self._conditioner is None else [self._conditioner(moves[0])]


class EagerSlope:
    """Of any unknowns of any client, from one recorded graph. J' w is linear in w, so its derivative by w gives J v."""

    def __init__(self, eager: Eager, sent: Values, unknowns: Sequence[Tensor], decode: Decode) -> None:
        self._leaves = [value.detach().requires_grad_() for value in unknowns]
        length = sum(float(value.detach().double().square().sum()) for value in sent.values())
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            simulated = eager.simulated(decode(self._leaves))
            gaps = torch.cat([(simulated[name] - target).reshape(-1) for name, target in sent.items()])
            self._gaps = gaps / max(length, 1e-30) ** 0.5
            self._weights = torch.zeros_like(self._gaps).requires_grad_()
            self._pulled = torch.autograd.grad(
                self._gaps, self._leaves, self._weights, create_graph=True, materialize_grads=True
            )
        self.residual = self._gaps.detach()

    def push(self, moves: Sequence[Tensor]) -> Tensor:
        """See `Slope`."""
        return torch.autograd.grad(self._pulled, self._weights, list(moves), retain_graph=True, materialize_grads=True)[
            0
        ]

    def pull(self, weights: Tensor) -> list[Tensor]:
        """See `Slope`."""
        return list(torch.autograd.grad(self._gaps, self._leaves, weights, retain_graph=True, materialize_grads=True))

    def conditioned(self, moves: Sequence[Tensor]) -> list[Tensor]:
        """See `Slope`."""
        return list(moves)
