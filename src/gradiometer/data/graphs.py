"""Graphs as `Data`: nodes in blocks of features, padded to one size and dealt to the two sides of the wall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.core import BadInput, Batch, Data, DataCard, derive, graph_layout

from .dealing import dealt, refuse_unless_dealable


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """One undirected graph.

    Args:
        nodes: [n, features], zeros and ones.
        edges: pairs of node numbers, each pair once, without loops.
        label: a class of the graph, or one of every node.
    """

    nodes: Tensor
    edges: Sequence[tuple[int, int]]
    label: int | Sequence[int] = 0


def from_graphs(
    graphs: Sequence[Graph],
    blocks: tuple[int, ...],
    *,
    degree: int | None = None,
    most: int = 25,
    names: Sequence[str] = (),
    symbols: Sequence[str] = (),
    card: DataCard = DataCard.default,
    public_share: float = 0.5,
    test_share: float = 0.2,
    limit: int | None = None,
    seed: int = 0,
) -> Data:
    """Graphs as `Data`; those of more than `most` nodes are left out.

    Args:
        blocks: the widths of the blocks of a node's features.
        degree: the number of the block that says how many neighbors a node has.
        names: of the classes.
        symbols: what a node is called in drawings, by the place of the 1 in its first block.
        public_share, test_share, limit, seed: as in `from_arrays`.

    Returns:
        Data with `nodes`, `adjacency`, `mask` and `y`.

    Raises:
        BadConfig: shares outside [0,1), or sizes and limits below 1.
        BadInput: features that do not fit the blocks, edges that do not fit the nodes, or no graph small enough.
    """
    refuse_unless_dealable("graphs", public_share=public_share, test_share=test_share, most=most, limit=limit)
    order = torch.randperm(len(graphs), generator=derive(seed, "split")).tolist()
    kept = [graphs[i] for i in order if 0 < len(graphs[i].nodes) <= most][:limit]
    if not kept:
        raise BadInput(f"no graph has at most {most} nodes", fix="raise `most`, or give other graphs")
    batch = packed(kept, blocks, most)
    classes = max(int(batch["y"].max()) + 1, len(names), 2)
    private, public, test = dealt(batch, public_share=public_share, test_share=test_share, what="graph")
    return Data(
        private=private,
        public=public,
        test=test,
        layout=graph_layout(most, blocks, classes, degree=degree, per_node=batch["y"].ndim == 2),
        card=card,
        names=tuple(names),
        symbols=tuple(symbols),
    )


def packed(graphs: Sequence[Graph], blocks: tuple[int, ...], most: int) -> Batch:
    """`nodes` [n, most, features], `adjacency` [n, most, most], `mask` [n, most] and `y`, filled up with zeros.

    Raises:
        BadInput: features that do not fit the blocks, or edges that do not fit the nodes.
    """
    nodes = torch.zeros(len(graphs), most, sum(blocks))
    adjacency = torch.zeros(len(graphs), most, most)
    mask = torch.zeros(len(graphs), most, dtype=torch.long)
    labels = [graph.label for graph in graphs]
    y = torch.zeros(len(graphs), *(() if isinstance(labels[0], int) else (most,)), dtype=torch.long)
    for number, graph in enumerate(graphs):
        count = len(graph.nodes)
        if graph.nodes.shape[1:] != nodes.shape[2:] or not _in_blocks(graph.nodes, blocks):
            raise BadInput(f"the nodes of graph {number} do not have one 1 in every block of widths {blocks}")
        if any(not 0 <= min(pair) < max(pair) < count for pair in graph.edges):
            raise BadInput(f"graph {number} has an edge that does not join two of its {count} nodes")
        nodes[number, :count], mask[number, :count] = graph.nodes.to(nodes), 1
        for i, j in graph.edges:
            adjacency[number, i, j] = adjacency[number, j, i] = 1
        y[number] = torch.tensor(graph.label if y.ndim == 1 else [*graph.label, *[0] * (most - count)])  # type: ignore[misc]
    return Batch(nodes=nodes, adjacency=adjacency, mask=mask, y=y)


def one_hot(codes: Sequence[Sequence[int]], blocks: tuple[int, ...]) -> Tensor:
    """Nodes [n, features] from the position of the 1 in each block."""
    return torch.cat([torch.nn.functional.one_hot(c, w) for c, w in zip(torch.tensor(codes).T, blocks)], 1).float()


def _in_blocks(nodes: Tensor, blocks: tuple[int, ...]) -> bool:
    binary = bool(((nodes == 0) | (nodes == 1)).all())
    return binary and all(w == 1 or bool((part.sum(1) == 1).all()) for part, w in zip(nodes.split(blocks, 1), blocks))
