"""The smoothest pictures among those that the equations allow, where the walk had to leave some directions open.

Of a tensor u that layers with known derivatives read:

    min_x  ||A u(x) - dW||^2 + ||W u(x) - z||^2 (where z is known) + ||max(W u(x) - z, 0)||^2 (where z is a limit)
           + ||x - box(x)||^2 + weight * sum sqrt(|differences of neighbors|^2 + smooth^2)

A closed ReLU tells that its input is not positive: a limit for what the layer below puts out. Where u is the picture
itself the problem is convex.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gradiometer.numerics.lbfgs import Objective, descend

from .equations import to_channels
from .forward_known import Known, outputs
from .graph import Graph, Layer, Node
from .joint import Block
from .record import Walk
from .top import branches

WEIGHTS = (1e-2, 1e-3, 1e-4, 1e-5)
"""Of the smoothness, falling: the equations are exact and have the last word."""
SMOOTH = 0.02
"""Differences between neighbors below this are hardly told from none, in normalized units."""

Rows = Callable[[Tensor], Tensor]


def readable(found: Walk) -> list[Node]:
    """Maps that a convolution with known derivatives reads, the lowest first."""
    return [node for node in found.graph.nodes.values() if len(node.shape) == 3 and _readers(found, node)]


def fill(found: Walk, node: Node, box: Callable[[Tensor], Tensor], *, evaluations: int) -> Tensor:
    """The network's inputs [n, channels, height, width].

    Args:
        node: one of `readable`.
        box: the nearest legal pictures.
        evaluations: upper limit, for every weight of the smoothness.
    """
    graph = found.graph
    readers = _readers(found, node)
    rows = [part for reader in readers for part in _rows(found, node, reader)]
    examples = len(found.deltas[readers[0].name])

    def value(x: Tensor, weight: float) -> Tensor:
        u = graph.forward(x, node.name) if node.name != graph.input else x
        data = torch.stack([part(u) for part in rows]).sum() + (x - box(x)).square().mean()
        return data + weight * _roughness(x)

    def objective(weight: float) -> Objective:
        return lambda points, _: torch.stack([value(point, weight) for point in points])

    x = torch.zeros(1, examples, *graph.nodes[graph.input].shape, dtype=graph.dtype)
    for weight in WEIGHTS:
        x = descend(objective(weight), x, evaluations=evaluations, finished=_settled).x
    return x[0]


def _settled(before: Tensor, now: Tensor) -> Tensor:
    return now > 0.999 * before


def _roughness(x: Tensor) -> Tensor:
    down, across = x.diff(dim=2)[..., :-1], x.diff(dim=3)[:, :, :-1]
    return (down.square() + across.square() + SMOOTH**2).sqrt().mean()


def _readers(found: Walk, node: Node) -> list[Node]:
    readers = [found.graph.nodes[name] for name in found.graph.consumers[node.name] if name in found.deltas]
    return [r for r in readers if isinstance(r.operation, Layer) and r.operation.weight_name in found.gradient]


def _rows(found: Walk, node: Node, reader: Node) -> list[Rows]:
    """Errors of the weight gradient, and of the outputs that are known or limited, relative to their size."""
    layer, graph = reader.operation, found.graph
    assert isinstance(layer, Layer)
    block = Block.of(layer, found.deltas[reader.name], node.shape, found.gradient, ())
    size = block.right.square().mean()

    def equations(u: Tensor) -> Tensor:
        return (block.design @ to_channels(layer, u) - block.right).square().mean() / size

    output = outputs(Known(graph=graph, values=found.values), layer, reader.name)
    if output is None:
        return [equations]
    sure = output.deviation.isfinite()
    spread = output.value[sure].square().mean()
    sign = _sign(graph, reader)

    def forward(u: Tensor) -> Tensor:
        error = layer.linear(u) - output.value
        return torch.where(sure, error, (error * sign).clamp_min(0)).square().mean() / spread

    return [equations, forward]


def _sign(graph: Graph, reader: Node) -> Tensor:
    """Whether more of a channel opens the activation above it (1) or closes it (-1)."""
    for name in graph.consumers[reader.name]:
        for below, scale in branches(graph, name):
            if below is reader:
                return scale.sign()[:, None, None]
    return torch.ones(())
