"""How much noise a recursion stands, predicted by an auditor who holds the clean gradient and the pictures.

To first order the picture's error is e = J^+ d, with d the error of the tensor from which the pictures follow (each
layer's least squares state it) and J that tensor's Jacobian; it grows in proportion to the noise. That holds until the
noise hides the least singular value of the gradient that shows the masks: from there on nothing is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .beginning import begin
from .cgls import Point, cgls
from .graph import Graph, Layer
from .inversion import fused
from .noise import Noise, edge, row_variance
from .shift import spectrum
from .top import Top, find_top
from .walk import walk

SMALL = 1e-8
"""Part of the noise's variance with which the walk is tried, so that all slopes are right."""


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """Prediction for one gradient and one kind of noise.

    Args:
        error: expected root mean square error of the pictures, to first order; infinite if they do not follow at all.
        closes: by which factor the noise's deviation may grow until it closes the spectrum's gap; infinite where no
            spectrum is needed.
    """

    error: float
    closes: float


def tolerance(graph: Graph, single: Graph, gradient: Mapping[str, Tensor], x: Tensor, noise: Noise) -> Tolerance:
    """Walks down with hardly any noise, and scales what it expects.

    Args:
        graph, single: of the model, in float64 and in float32.
        gradient: clean, in float64; x: the pictures that caused it [n, *shape].
        noise: variances by parameter name.
    """
    rng = torch.Generator().manual_seed(0)
    little = {name: SMALL * value for name, value in noise.items()}
    top = begin(graph, gradient, rng=rng, noise=little)
    found = walk(graph, gradient, top.deltas, noise=little)
    shown = find_top(graph)
    closes = _closes(gradient, noise, shown, len(x)) if isinstance(shown, Top) else float("inf")
    targets = found.targets()
    if not targets:
        return Tolerance(error=float("inf"), closes=closes)
    known = [found.values[name] for name in targets[-1]]
    drawn = [k.deviation * torch.randn(k.value.shape, generator=rng, dtype=k.value.dtype) for k in known]
    sizes = [float(k.value.norm()) for k in known]
    moved = drawn[0] if graph.input in targets[-1] else _pulled(single, targets[-1], x.to(single.dtype), drawn, sizes)
    return Tolerance(error=float(moved.square().mean().sqrt()) / SMALL**0.5, closes=closes)


def _closes(gradient: Mapping[str, Tensor], noise: Noise, top: Top, examples: int) -> float:
    layer = top.layer.operation
    assert isinstance(layer, Layer)
    scaled = gradient[layer.weight_name] / top.scale.reshape(-1, 1, 1, 1)
    height, width = top.size
    floor = edge(row_variance(noise, layer) / top.scale.square(), scaled[0].numel())
    values = spectrum(scaled, height * width).values
    rank = min(height * width * examples, len(values))
    return float(values[rank - 1] * torch.linalg.matrix_norm(scaled.flatten(1), 2)) / max(floor, 1e-300)


def _pulled(graph: Graph, names: Sequence[str], x: Tensor, errors: Sequence[Tensor], sizes: Sequence[float]) -> Tensor:
    """The error of the pictures that explains those of the tensors best, each relative to its tensor's size."""
    with torch.enable_grad():
        x = x.clone().requires_grad_()
        made = [part / size for part, size in zip(fused(graph, names)(x), sizes)]
        weights = [torch.zeros_like(part, requires_grad=True) for part in made]
        (pulled,) = torch.autograd.grad(made, x, weights, create_graph=True)
    right = [(error / size).to(x.dtype) for error, size in zip(errors, sizes)]
    unit = torch.cat([part.flatten() for part in right]).square().mean().sqrt()

    def forward(point: Point) -> Sequence[Tensor]:
        return torch.autograd.grad(pulled, weights, point[0], retain_graph=True)

    def adjoint(rows: Sequence[Tensor]) -> tuple[Point, Tensor]:
        (slope,) = torch.autograd.grad(made, x, list(rows), retain_graph=True)
        return [slope], slope.square().sum()

    start = [torch.zeros_like(x, requires_grad=False)]
    accuracy = 0.02 * x.numel() ** 0.5
    found, _, _ = cgls(forward, adjoint, [part / unit for part in right], start, iterations=200, accuracy=accuracy)
    return found[0] * unit
