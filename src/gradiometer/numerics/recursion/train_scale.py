"""The one number of the pictures that BatchNorm in train mode hides: their common scale.

The loss does not change with the size of the weights W in front of a BatchNorm but for eps, so along W their gradient
almost vanishes. What is left of it is

    W . dL/dW = gamma dL/dgamma eps / (variance + eps)

a channel, which tells the variance of the first convolution's output, and with it the scale of what the convolution
reads: within a fraction of a percent for a float32 client.

References:
    Derived here.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, cat

from .graph import Graph, Layer
from .train_norm import BatchNorm


def common_scale(graph: Graph, gradient: Mapping[str, Tensor], x: Tensor) -> tuple[float, float]:
    """What the pictures [n, ...] are to be multiplied by, and its relative standard error (infinite if nothing tells it)."""
    told, expected = [], []
    for name in graph.consumers[graph.input]:
        layer = graph.nodes[name].operation
        norms = [graph.nodes[c].operation for c in graph.consumers[name]]
        if not (isinstance(layer, Layer) and len(norms) == 1 and isinstance(norms[0], BatchNorm)):
            continue
        sent, slope = gradient.get(layer.weight_name), gradient.get(norms[0].weight_name or "")
        if sent is None or slope is None:
            continue
        weight = layer.weight.double().flatten(1)
        variance = layer.linear(x).double().var((0, 2, 3), correction=0)
        size = (weight.norm(dim=1) * sent.flatten(1).norm(dim=1)).clamp_min(1e-300)
        told.append((weight * sent.flatten(1)).sum(1) / size)
        expected.append(norms[0].gamma.double().flatten() * slope * norms[0].eps / variance / size)
    if not told:
        return 1.0, float("inf")
    left, right = cat(told), cat(expected)
    strength = right.square().sum()
    share = float(left @ right / strength)
    error = float((left - share * right).square().mean().sqrt() / strength.sqrt())
    if share < 3 * error:
        return 1.0, float("inf")
    return share**-0.5, 0.5 * error / share
