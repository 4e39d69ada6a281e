"""From the lowest known maps to the pixels under BatchNorm in train mode: damped Gauss-Newton through the layers between.

The batch's statistics tie the examples together, so all pixels are one unknown. Known maps stand in for what they are
made of, and a known unit of a ReLU is compared before it: an open one's input is its output, a closed one's is not
positive. With these residuals steps found by conjugate gradients arrive from small noise, where descent stalls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .forward_known import Estimate
from .graph import Activation, Graph
from .newton import Rows, fit
from .train_scale import common_scale

ARRIVED = 1e-2
"""Relative residual below which only the last digits are missing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pixels:
    """The pictures; the residual relative to the known maps; products with the derivative used.

    Args:
        scale: relative standard error of the common scale; infinite where nothing tells it.
    """

    x: Tensor
    residual: float
    products: int
    scale: float


def pixels(
    graph: Graph,
    known: Mapping[str, Estimate],
    frontier: Sequence[str],
    gradient: Mapping[str, Tensor],
    *,
    rng: torch.Generator,
    steps: int = 60,
    starts: int = 2,
) -> Pixels:
    """All examples at once.

    Args:
        graph: in train mode, in the precision to compute in.
        known: tensors by name [n, ...]; frontier: those that are descended from.
    """
    examples = len(known[frontier[0]].value)
    size = sum(float(known[name].value.square().sum()) for name in frontier) ** 0.5
    values = {name: known[name].value.to(graph.dtype) for name in frontier}

    def residuals(x: Tensor) -> Tensor:
        return torch.cat([r.flatten() for r in _residuals(graph, values, frontier, x)]) / size

    def problem(x: Tensor) -> _There:
        return _There(residuals, x)

    best = None
    for _ in range(starts):
        start = 0.3 * torch.randn(examples, *graph.nodes[graph.input].shape, generator=rng)
        found = fit(problem, start.to(graph.dtype), steps=steps, damping=1e-3, accuracy=0.1, least=1e-9, enough=3e-4)
        best = found if best is None or found.residual < best.residual else best
        if best.residual < ARRIVED:
            break
    assert best is not None
    scale, error = common_scale(graph, gradient, best.x)
    last = fit(problem, scale * best.x, steps=6, damping=1e-8, accuracy=1e-2, least=1e-9, enough=1e-6)
    return Pixels(x=last.x, residual=last.residual, products=best.products + last.products, scale=error)


def _residuals(graph: Graph, known: Mapping[str, Tensor], frontier: Sequence[str], x: Tensor) -> list[Tensor]:
    values, found = {graph.input: x}, []

    def value(name: str) -> Tensor:
        if name not in values:
            node = graph.nodes[name]
            values[name] = known[name] if name in known else node.operation.apply(*(value(n) for n in node.inputs))
        return values[name]

    for name in frontier:
        node = graph.nodes[name]
        before = value(node.inputs[0])
        activation = node.operation
        assert isinstance(activation, Activation)
        usable = activation.invertible(known[name])
        found.append(
            torch.where(usable, before - activation.inverse(known[name]), activation.apply(before) - known[name])
        )
    return found


class _There:
    """The residuals at some pixels, their derivative by automatic differentiation in both directions."""

    def __init__(self, residuals: Callable[[Tensor], Tensor], x: Tensor) -> None:
        with torch.enable_grad():
            self.x = x.detach().requires_grad_()
            self.image = residuals(self.x)
            self.along = torch.zeros_like(self.image, requires_grad=True)
            (self.slope,) = torch.autograd.grad(self.image, self.x, self.along, create_graph=True)
        self.rows: Rows = [self.image.detach()]
        probe = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x.dtype)
        self.size = float(self.forward(probe)[0].square().sum() / probe.square().sum())

    def forward(self, change: Tensor) -> Rows:
        return torch.autograd.grad(self.slope, self.along, change, retain_graph=True)

    def adjoint(self, rows: Rows) -> Tensor:
        return torch.autograd.grad(self.image, self.x, rows[0], retain_graph=True)[0]

    def inverse(self, damping: float) -> Callable[[Tensor], Tensor]:
        return lambda slope: slope
