"""From shares to nodes, and from nodes and edges to a batch."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from gradiometer.core import Batch

from .counts import numbers
from .explain import Explained
from .realize import Edges

Node = tuple[int, int]
"""A node's class (0 where only the graph has one) and the number of its second neighborhood."""


def numbered(explained: Explained, most: int) -> Iterator[list[Node]]:
    """For each number of nodes that makes all counts whole: class and second neighborhood of every node."""
    kept = (explained.shares > 0.2 / most).nonzero().tolist()
    weights = torch.stack([explained.shares[c, s] for c, s in kept])
    for count in numbers(weights, most):
        times = (weights * count).round().long().tolist()
        yield [(c, s) for (c, s), t in zip(kept, times) for _ in range(t)]


def as_batch(explained: Explained, nodes: list[Node], edges: Edges, most: int, label: int | None) -> Batch:
    """One graph, filled up with zeros."""
    count, kinds = len(nodes), [explained.blocks.center[explained.seconds.center[s]] for _, s in nodes]
    features = torch.zeros(1, most, explained.kinds.features.shape[1])
    features[0, :count] = explained.kinds.features[kinds].float()
    adjacency, mask = torch.zeros(1, most, most), torch.zeros(1, most, dtype=torch.long)
    for i, j in edges:
        adjacency[0, i, j] = adjacency[0, j, i] = 1
    mask[0, :count] = 1
    y = torch.tensor([label if label is not None else [*[c for c, _ in nodes], *[0] * (most - count)]])
    return Batch(nodes=features, adjacency=adjacency, mask=mask, y=y)
