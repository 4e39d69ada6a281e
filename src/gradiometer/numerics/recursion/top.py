"""The top of a network whose maps are averaged over positions before the linear head: where masks cannot be seen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.core import NotApplicable

from .graph import Activation, Affine, Graph, Layer, Node, Norm, Reshape, Sum

EVEN = 1e-9
"""Relative differences between positions that are rounding."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Mean:
    """A linear head on maps averaged over positions.

    Args:
        activation: the last one, a ReLU of maps.
        share: derivative of the logits by one position of its output [classes, channels], the same at all positions.
    """

    head: Node
    activation: Node
    share: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Top:
    """From the logits down to a convolution with shift structure.

    Args:
        head: the linear head; `activation`: the last activation; `below`: its input.
        layer: a convolution whose output reaches `below` by sums and normalization alone.
        scale: derivative of `below` by that convolution's output, a channel.
        share: derivative of the logits by one position of the activation's output [classes, channels]; it is the same
            at all positions.
    """

    head: Node
    activation: Node
    below: str
    layer: Node
    scale: Tensor
    share: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the maps."""
        height, width = self.activation.shape[1:]
        return height, width


def find_head(graph: Graph) -> Node:
    """The layer that gives the logits.

    Raises:
        NotApplicable: the output is no linear layer's.
    """
    node = graph.nodes[graph.output]
    while isinstance(node.operation, Reshape):
        node = graph.nodes[node.inputs[0]]
    if not (isinstance(node.operation, Layer) and node.operation.dense and len(node.shape) == 1):
        raise NotApplicable(f"the model ends in {node.operation.where}, not in a linear layer that answers the logits")
    return node


def find_mean(graph: Graph) -> Mean | str:
    """The head and the maps that it averages, or the reason why there are none."""
    node = head = find_head(graph)
    delta, way = torch.eye(head.shape[0], dtype=graph.dtype), list[tuple[Affine, list[tuple[int, ...]]]]()
    while not isinstance(node.operation, Activation):
        if not isinstance(node.operation, Affine) or len(node.inputs) != 1:
            return f"{node.operation.where} stands between the head and the last activation"
        shapes = graph.shapes(node)
        if way or math.prod(shapes[0][1:]) > 1:
            way.append((node.operation, shapes))
        else:
            (delta,) = node.operation.pull(delta, shapes)
        node = graph.nodes[node.inputs[0]]
    if not node.operation.kinked or len(node.shape) != 3:
        return f"the last activation, {node.operation.where}, is no ReLU of maps"

    def pulled(rows: Tensor) -> Tensor:
        for operation, shapes in way:
            (rows,) = operation.pull(rows, shapes)
        return rows

    probes = torch.randn(2, *delta.shape[1:], generator=torch.Generator().manual_seed(0), dtype=graph.dtype)
    seen = pulled(probes)
    if float((seen - seen[..., :1, :1]).abs().max()) > EVEN * float(seen.abs().max()):
        return "the head does not average over positions"
    corner, probes = seen[..., 0, 0], probes.flatten(1)
    alone = corner.shape == probes.shape and torch.allclose(corner[0] * probes[1], corner[1] * probes[0], rtol=EVEN)
    share = delta.flatten(1) * (corner[0] / probes[0]) if alone else pulled(delta)[..., 0, 0]
    return Mean(head=head, activation=node, share=share)


def find_top(graph: Graph) -> Top | str:
    """The pooled top, or the reason why there is none."""
    mean = find_mean(graph)
    if isinstance(mean, str):
        return mean
    below = mean.activation.inputs[0]
    found = [(c, scale) for c, scale in branches(graph, below) if _layer(c).shifts()]
    if not found:
        return f"no convolution with shift structure ends in {mean.activation.operation.where}"
    layer, scale = max(found, key=lambda pair: min(_layer(pair[0]).weight.shape[:2]))
    return Top(head=mean.head, activation=mean.activation, below=below, layer=layer, scale=scale, share=mean.share)


def branches(graph: Graph, name: str) -> Iterator[tuple[Node, Tensor]]:
    """Layers whose output reaches the tensor by sums and normalization, with the derivative a channel."""
    node = graph.nodes[name]
    if isinstance(node.operation, Layer):
        yield node, node.operation.weight.new_ones(node.shape[0])
    elif isinstance(node.operation, Sum):
        for below in dict.fromkeys(node.inputs):
            yield from branches(graph, below)
    elif isinstance(node.operation, Norm):
        for found, scale in branches(graph, node.inputs[0]):
            yield found, scale * node.operation.scale


def _layer(node: Node) -> Layer:
    assert isinstance(node.operation, Layer)
    return node.operation
