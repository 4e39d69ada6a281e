"""Gradients whose tensors were each multiplied by an unknown factor, as by clipping every tensor by itself.

The factor of a weight gradient comes out as a factor of the layer's input: it changes neither signs nor, therefore,
slopes and derivatives below. Only what compares two tensors of the gradient is lost (sums of derivatives, several
readers of one input), and in the end every picture's scale is found by comparing what it would cause with what was sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from gradiometer.numerics.fit import fit

from .graph import Graph, Layer
from .top import find_head

SCALES = tuple(2.0 ** (k / 2) for k in range(-6, 5))
"""Sizes (root mean square) of pictures that are tried first."""
STEPS = 5
"""Gauss-Newton steps from the best of them."""


def comparable(graph: Graph, gradient: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What may be used without knowing the factors: the head, and of every tensor's readers the one with most equations."""
    head = find_head(graph).operation
    assert isinstance(head, Layer)
    kept = {head.weight_name, head.bias_name}
    for name in graph.nodes:
        readers = [o for c in graph.consumers[name] if isinstance((o := graph.nodes[c].operation), Layer)]
        if readers:
            kept.add(max(readers, key=lambda layer: len(layer.weight) * layer.weight[0, 0].numel()).weight_name)
    return {name: value for name, value in gradient.items() if name in kept}


def scaled(x: Tensor, caused: Callable[[Tensor], Mapping[str, Tensor]], sent: Mapping[str, Tensor]) -> Tensor:
    """The pictures, each times the factor with which what they cause is nearest to what was sent.

    Args:
        x: [n, ...]; caused: update values of pictures; sent: update values.
    """
    target = _flat(sent, sent)
    x = x / x.flatten(1).square().mean(1).sqrt().clamp_min(1e-12).reshape(-1, *[1] * (x.ndim - 1))

    def rest(factors: Tensor) -> Tensor:
        return _flat(caused(x * factors.to(x).reshape(-1, *[1] * (x.ndim - 1))), sent) - target

    ones = torch.ones(len(x), dtype=torch.float64)
    best = min((s * ones for s in SCALES), key=lambda factors: float(rest(factors).square().sum()))
    here = rest(best)
    for _ in range(STEPS):
        moves = [best * (1 + 1e-3 * torch.eye(len(x), dtype=torch.float64)[b]) for b in range(len(x))]
        slopes = torch.stack([(rest(move) - here) / 1e-3 for move in moves], 1)
        step = fit(slopes.T @ slopes, -(slopes.T @ here))
        there = best * (1 + step.clamp(-0.2, 0.2))
        moved = rest(there)
        if not float(moved.square().sum()) < float(here.square().sum()):
            break
        best, here = there, moved
    return x * best.to(x).reshape(-1, *[1] * (x.ndim - 1))


def _flat(values: Mapping[str, Tensor], order: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([values[name].detach().flatten() for name in order]).double()
