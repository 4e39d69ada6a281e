"""The smoothest pictures among those that the equations allow, where the walk had to leave some directions open.

Of a tensor u that layers with known derivatives read:

    min_x  ||A u(x) - dW||^2 + ||W u(x) - z||^2 (where z is known) + ||max(W u(x) - z, 0)||^2 (where z is a limit)
           + ||x - box(x)||^2 + weight * sum sqrt(|differences of neighbors|^2 + smooth^2)

A closed ReLU tells that its input is not positive: a limit for what the layer below puts out. Where u is the picture
itself the problem is convex. Behind max poolings it is far from that: which entry of a window is the largest follows from
the picture. Windows take from all entries at first, softly, and ever more from the largest.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gradiometer.numerics.lbfgs import Objective, descend

from .equations import to_channels
from .forward_known import Known, outputs
from .graph import Graph, Layer, MaxPool, Node
from .joint import Block
from .left import layer_of
from .record import Walk
from .soft_pool import forward
from .top import branches

STAGES = ((1e-2, 0.0), (1e-3, 0.0), (1e-4, 0.0), (1e-5, 0.0))
"""Weight of the smoothness and softness of max poolings, falling: the equations are exact and have the last word."""
POOLED = ((0.1, 0.9), (0.1, 0.5), (0.1, 0.2), (0.03, 0.05), (0.03, 0.0))
"""The same behind max poolings, softness in standard deviations of what noise for a picture brings there."""
COLORED = 2.0
"""Differences of color count so much more than those of brightness: in photographs they are rarer."""
START = 0.3
"""Standard deviation of the first pictures, which are noise: at none at all the slopes of ReLUs say nothing."""
SMOOTH = 0.02
"""Differences between neighbors below this are hardly told from none, in normalized units."""

Rows = Callable[[Tensor], Tensor]


def readable(found: Walk) -> list[Node]:
    """Maps that a convolution with known derivatives reads, the lowest first."""
    return [node for node in found.graph.nodes.values() if len(node.shape) == 3 and _readers(found, node)]


def fill(
    graph: Graph,
    found: Walk,
    node: Node,
    box: Callable[[Tensor], Tensor],
    *,
    rng: torch.Generator,
    evaluations: int,
) -> Tensor:
    """The network's inputs [n, channels, height, width].

    Args:
        graph: the walk's, in the precision to compute in.
        node: one of `readable`.
        box: the nearest legal pictures.
        evaluations: upper limit, for every stage.
    """
    readers = _readers(found, node)
    rows = [part for reader in readers for part in _rows(graph, found, node, reader)]
    examples = len(found.deltas[readers[0].name])
    shape = (examples, *graph.nodes[graph.input].shape)
    x = START * torch.randn(shape, generator=rng).to(graph.dtype)
    between = graph.needed(node.name, graph.input)
    pools = {
        n.name: float(graph.forward(x, n.inputs[0]).std()) / START for n in between if isinstance(n.operation, MaxPool)
    }

    def value(x: Tensor, weight: float, softness: float) -> Tensor:
        u = forward(between, {graph.input: x}, {name: softness * spread for name, spread in pools.items()})
        data = torch.stack([part(u[node.name]) for part in rows]).sum() + (x - box(x)).square().mean()
        return data + weight * _roughness(x)

    def objective(weight: float, softness: float) -> Objective:
        return lambda points, _: torch.stack([value(point, weight, softness) for point in points])

    for stage in POOLED if pools else STAGES:
        x = descend(objective(*stage), x[None], evaluations=evaluations, finished=_settled).x[0]
    return x


def _settled(before: Tensor, now: Tensor) -> Tensor:
    return now > 0.999 * before


def _roughness(x: Tensor) -> Tensor:
    """Of all channels together, whose edges are the same."""
    x = COLORED * x + (1 - COLORED) * x.mean(1, keepdim=True)
    down, across = x.diff(dim=2)[..., :-1], x.diff(dim=3)[:, :, :-1]
    return (down.square() + across.square() + SMOOTH**2).sum(1).sqrt().mean()


def _readers(found: Walk, node: Node) -> list[Node]:
    readers = [found.graph.nodes[name] for name in found.graph.consumers[node.name] if name in found.deltas]
    return [r for r in readers if isinstance(r.operation, Layer) and r.operation.weight_name in found.gradient]


def _rows(graph: Graph, found: Walk, node: Node, reader: Node) -> list[Rows]:
    """Errors of the weight gradient, and of the outputs that are known or limited, relative to their size."""
    layer, told = layer_of(graph.nodes[reader.name]), layer_of(reader)
    block = Block.of(told, found.deltas[reader.name], node.shape, found.gradient, ())
    design, right = block.design.to(graph.dtype), block.right.to(graph.dtype)
    size = right.square().mean()

    def equations(u: Tensor) -> Tensor:
        return (design @ to_channels(layer, u) - right).square().mean() / size

    output = outputs(Known(graph=found.graph, values=found.values), told, reader.name)
    if output is None:
        return [equations]
    sure, known = output.deviation.isfinite(), output.value.to(graph.dtype)
    spread = known[sure].square().mean()
    sign = _sign(graph, reader)

    def forward(u: Tensor) -> Tensor:
        error = layer.linear(u) - known
        return torch.where(sure, error, (error * sign).clamp_min(0)).square().mean() / spread

    return [equations, forward]


def _sign(graph: Graph, reader: Node) -> Tensor:
    """Whether more of a channel opens the activation above it (1) or closes it (-1)."""
    for name in graph.consumers[reader.name]:
        for below, scale in branches(graph, name):
            if below is reader:
                return scale.sign()[:, None, None]
    return torch.ones(())
