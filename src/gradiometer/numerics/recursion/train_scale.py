"""The one number of the pictures that BatchNorm in train mode hides: their common scale.

The loss does not change with the size of the weights W in front of a BatchNorm but for eps, so along W their gradient
almost vanishes. What is left of it is

    W . dL/dW = gamma dL/dgamma eps / (variance + eps)

a channel, or summed over those that are normalized together, which tells the variance of the first convolution's output, and with it the scale of what the convolution
reads: within a fraction of a percent for a float32 client.

References:
    Derived here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from .graph import Graph, Layer, Node, Reshape
from .own_norm import OwnNorm


def hides_scale(graph: Graph) -> bool:
    """Whether all layers that read the pictures stand below normalization by own statistics, with no bias between."""
    return all(_hides(graph, node) for node in _readers(graph, graph.input))


def _readers(graph: Graph, name: str) -> Iterator[Node]:
    """What reads a tensor, also in another shape."""
    for node in (graph.nodes[above] for above in graph.consumers[name]):
        if isinstance(node.operation, Reshape):
            yield from _readers(graph, node.name)
        else:
            yield node


def _hides(graph: Graph, node: Node) -> bool:
    layer, above = node.operation, [graph.nodes[name].operation for name in graph.consumers[node.name]]
    norm = above[0] if len(above) == 1 else None
    return isinstance(layer, Layer) and isinstance(norm, OwnNorm) and (layer.bias is None or norm.alone)


def common_scale(graph: Graph, gradient: Mapping[str, Tensor], x: Tensor) -> tuple[float, float]:
    """What the pictures [n, ...] are to be multiplied by, and its relative standard error (infinite if nothing tells it).

    Nothing is hidden where no such normalization stands behind the first layer, or where a bias stands in front of it.
    """
    if not hides_scale(graph):
        return 1.0, 0.0
    told, expected, count = list[Tensor](), list[Tensor](), 0.0
    for node in _readers(graph, graph.input):
        layer, (norm,) = node.operation, (graph.nodes[above].operation for above in graph.consumers[node.name])
        assert isinstance(layer, Layer)
        assert isinstance(norm, OwnNorm)
        weight = layer.weight.double().flatten(1)
        sent, slope = gradient.get(layer.weight_name), gradient.get(norm.weight_name or "")
        if sent is None or slope is None or layer.dense or (len(x) > 1 and not norm.batch):
            continue

        def group(channels: Tensor, norm: OwnNorm = norm) -> Tensor:
            return norm.average(channels.reshape(1, -1, 1, 1)).expand(1, len(channels), 1, 1).flatten()

        z = layer.linear(x).double()
        variance = norm.average((z - norm.average(z)).square()).expand(1, len(weight), 1, 1).flatten()
        alike = group(torch.eye(len(weight), dtype=weight.dtype)[0])[0].sqrt()  # a group's channels are one equation
        count += len(weight) * float(alike) ** 2
        size = group(weight.norm(dim=1) * sent.flatten(1).norm(dim=1)).clamp_min(1e-300)
        told.append(alike * group((weight * sent.flatten(1)).sum(1)) / size)
        expected.append(alike * group(norm.gamma.double().flatten() * slope) * norm.eps / variance / size)
    if not told:
        return 1.0, float("inf")
    left, right = torch.cat(told), torch.cat(expected)
    strength = right.square().sum()
    share = float(left @ right / strength)
    error = float((left - share * right).norm() / (max(count - 1, 1) * strength).sqrt())
    if share < 3 * error:
        return 1.0, float("inf")
    return share**-0.5, 0.5 * error / share
