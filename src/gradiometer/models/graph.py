"""Victims that read graphs: `gcn` and `gat`, which classify graphs or nodes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gradiometer.core import BadConfig, Card

from .building import ACTIVATIONS, choose, seeded

gcn_card = Card(
    summary="A graph convolutional network: each node averages over its neighbors, then a perceptron reads every node.",
    title="Semi-Supervised Classification with Graph Convolutional Networks",
    authors="Kipf, Welling",
    year=2017,
    arxiv="1609.02907",
    modality="graph",
    family="graph",
    departs="a perceptron reads node features beside embeddings, as in GRAIN's experiments; graphs by the mean of their nodes' logits",
)
gat_card = Card(
    summary="A graph attention network: each node weighs its neighbors by attention, then a perceptron reads every node.",
    title="Graph Attention Networks",
    authors="Veličković, Cucurull, Casanova, Romero, Liò, Bengio",
    year=2018,
    arxiv="1710.10903",
    modality="graph",
    family="graph",
    departs="ReLU instead of ELU; no dropout; the readout of `gcn`",
)


class GraphConvolution(nn.Module):
    """Kipf and Welling's layer: `D^-1/2 (A + I) D^-1/2 H W`, with the degrees D of A + I."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        nn.init.xavier_uniform_(self.linear.weight)

    def mix(self, own: Tensor, others: Tensor, edges: Tensor, degree: Tensor, degrees: Tensor) -> Tensor:
        """What some nodes [..., r, width] make of their neighbors among others [..., s, width]; [..., r, width].

        Args:
            edges: [..., r, s], 1 where two are neighbors.
            degree, degrees: how many neighbors either have in the whole graph, [..., r] and [..., s].
        """
        root, roots = (1 + degree).rsqrt(), (1 + degrees).rsqrt()
        return own * root[..., None].square() + (edges * root[..., None] * roots[..., None, :]) @ others

    def forward(self, h: Tensor, adjacency: Tensor) -> Tensor:
        z, degree = self.linear(h), adjacency.sum(-1)
        return self.mix(z, z, adjacency, degree, degree)


class GraphAttention(nn.Module):
    """Veličković's layer: softmax over a node and its neighbors of `LeakyReLU(a'z_i + b'z_j)`, heads side by side."""

    def __init__(self, inputs: int, outputs: int, heads: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.reading, self.read = (nn.Parameter(torch.empty(heads, outputs // heads)) for _ in range(2))
        for weight in (self.linear.weight, self.reading, self.read):
            nn.init.xavier_uniform_(weight)

    def mix(self, own: Tensor, others: Tensor, edges: Tensor, degree: Tensor, degrees: Tensor) -> Tensor:
        """As `GraphConvolution.mix`; degrees do not matter."""
        mine, theirs = (z.unflatten(-1, self.reading.shape) for z in (own, others))
        asking, answering = (mine * self.reading).sum(-1), (theirs * self.read).sum(-1)
        alone = nn.functional.leaky_relu(asking + (mine * self.read).sum(-1), 0.2)
        scores = nn.functional.leaky_relu(asking[..., None, :] + answering[..., None, :, :], 0.2)
        # A finite number: padding has no neighbors, and a derivative must not become NaN.
        scores = scores.masked_fill(edges[..., None] == 0, torch.finfo(scores.dtype).min)
        weights = torch.cat([alone[..., None, :], scores], -2).softmax(-2)
        gathered = torch.einsum("...rsh,...shw->...rhw", weights[..., 1:, :], theirs)
        return (weights[..., 0, :, None] * mine + gathered).flatten(-2)

    def forward(self, h: Tensor, adjacency: Tensor) -> Tensor:
        z, degree = self.linear(h), adjacency.sum(-1)
        return self.mix(z, z, adjacency, degree, degree)


class GraphNet(nn.Module):
    """Layers that mix neighbors, and a readout of each node's features beside its embedding.

    Called as `model(nodes, adjacency, mask)` with [n, most, features], [n, most, most] and [n, most]. Gives [n, classes],
    the mean over nodes, or with `per_node` [n, most, classes].
    """

    def __init__(self, layers: list[nn.Module], activation: nn.Module, readout: nn.Module, *, per_node: bool) -> None:
        super().__init__()
        self.layers, self.activation, self.readout = nn.ModuleList(layers), activation, readout
        self.per_node = per_node

    def forward(self, nodes: Tensor, adjacency: Tensor, mask: Tensor | None = None) -> Tensor:
        h = nodes
        for number, layer in enumerate(self.layers):
            h = layer(h if not number else self.activation(h), adjacency)
        logits: Tensor = self.readout(torch.cat([nodes, h], -1))
        if self.per_node:
            return logits
        there = (torch.ones_like(nodes[..., 0]) if mask is None else mask.to(logits))[..., None]
        return (logits * there).sum(-2) / there.sum(-2).clamp_min(1)


def gcn(
    features: int,
    classes: int = 2,
    *,
    width: int = 300,
    depth: int = 2,
    activation: str = "relu",
    per_node: bool = False,
    seed: int = 0,
) -> GraphNet:
    """A graph convolutional network with a readout of each node's features and embedding.

    Args:
        features: numbers a node.
        classes: of a graph, or of a node where `per_node`.
        width, depth: of the embedding, and how many layers mix neighbors.
        activation: between layers, a key of `building.ACTIVATIONS`; the readout always has ReLU.

    Raises:
        BadConfig: sizes below 1, fewer than two classes, or an unknown activation.

    References:
        Kipf, Welling, "Semi-Supervised Classification with Graph Convolutional Networks", 2017, arXiv:1609.02907.
    """
    return _build(GraphConvolution, features, classes, width, depth, activation, per_node, seed)


def gat(
    features: int,
    classes: int = 2,
    *,
    width: int = 300,
    depth: int = 2,
    heads: int = 2,
    activation: str = "relu",
    per_node: bool = False,
    seed: int = 0,
) -> GraphNet:
    """A graph attention network; as `gcn`, with attention of several heads side by side.

    Args:
        features, classes, width, depth, activation, per_node: as in `gcn`.
        heads: must divide `width`.

    Raises:
        BadConfig: as `gcn`, or heads that do not divide the width.

    References:
        Veličković, Cucurull, Casanova, Romero, Liò, Bengio, "Graph Attention Networks", 2018, arXiv:1710.10903.
    """
    if heads < 1 or width % max(heads, 1):
        raise BadConfig(f"the graph network cannot be built: {heads} heads do not divide width {width}")

    def layer(inputs: int, outputs: int) -> nn.Module:
        return GraphAttention(inputs, outputs, heads)

    return _build(layer, features, classes, width, depth, activation, per_node, seed)


def _build(
    layer: Callable[[int, int], nn.Module],
    features: int,
    classes: int,
    width: int,
    depth: int,
    activation: str,
    per_node: bool,
    seed: int,
) -> GraphNet:
    least = {"features": (features, 1), "classes": (classes, 2), "width": (width, 1), "depth": (depth, 1)}
    problems = [f"{name} must be at least {low}, got {value}" for name, (value, low) in least.items() if value < low]
    if problems:
        raise BadConfig("the graph network cannot be built", problems=problems)
    act = choose("activation", activation, ACTIVATIONS)
    with seeded(seed):
        layers = [layer(features if not number else width, width) for number in range(depth)]
        readout = nn.Sequential(
            nn.Linear(features + width, width), nn.ReLU(), nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, classes)
        )
        return GraphNet(layers, act(), readout, per_node=per_node)
