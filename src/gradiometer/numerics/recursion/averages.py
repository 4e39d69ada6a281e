"""Averages over positions behind 1x1 convolutions, brought in front of them: the two commute.

The convolution then reads the averaged map, which has as few positions as its gradient can tell, and the map is known
instead of nothing, as in a DenseNet's transitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from .graph import Affine, Graph, Layer, Node


@dataclass(frozen=True, kw_only=True, eq=False)
class Average(Affine):
    """Averages over positions, in front of the layer that reads it: what that layer's gradient tells is the average."""


def first(nodes: Mapping[str, Node]) -> dict[str, Node]:
    """The same network, averages standing in front of 1x1 convolutions that nothing else reads."""
    result = dict(nodes)
    for node in nodes.values():
        if type(node.operation) is not Affine or len(node.inputs) != 1 or len(node.shape) != 3:
            continue
        below = result[node.inputs[0]]
        readers = [other.name for other in nodes.values() if below.name in other.inputs]
        if readers != [node.name] or not isinstance(below.operation, Layer) or below.operation.offsets > 1:
            continue
        shape = result[below.inputs[0]].shape
        if _commute(node.operation, below.operation, shape):
            average = Average(apply=node.operation.apply, where=node.operation.where)
            small = (shape[0], *node.shape[1:])
            result[below.name] = Node(name=below.name, operation=average, inputs=below.inputs, shape=small)
            result[node.name] = replace(below, name=node.name, inputs=(below.name,), shape=node.shape)
    return result


def unread(graph: Graph, node: Node) -> str:
    """Why the slopes of a tensor stay unknown that no followed layer with a gradient reads."""
    for name in graph.consumers[node.name]:
        above = graph.nodes[name].operation
        if isinstance(above, Average):
            return (
                f"{above.where} averages over positions, which hides which units of {node.operation.where} are active"
            )
    return f"no followed layer with a gradient reads {node.operation.where}"


def _commute(average: Affine, layer: Layer, shape: tuple[int, ...]) -> bool:
    """Tried on a fixed pattern; a stride or an operation that counts channels does not."""
    x = torch.arange(2 * torch.Size(shape).numel(), dtype=layer.weight.dtype).sin().reshape(2, *shape)
    if layer.dense or set(layer.stride) != {1}:
        return False
    try:
        return torch.allclose(average.apply(layer.apply(x)), layer.apply(average.apply(x)), atol=1e-6)
    except RuntimeError:
        return False
