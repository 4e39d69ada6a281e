"""Graph metrics: how alike two graphs are, node by node and neighborhood by neighborhood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from gradiometer.core import derive
from gradiometer.numerics.assignment import assign
from gradiometer.numerics.isomorphism import isomorphic, isomorphism

from .card import MetricCard

_GSM = "Drencheva, Petrov, Baader, Dimitrov, Vechev, GRAIN, 2025, arXiv:2503.01838"
gsm_card = MetricCard(
    summary="Likeness of two graphs' nodes with their neighborhoods of k hops.", leak="higher", source=_GSM
)
exact_graph_card = MetricCard(summary="Whether two graphs are the same, features and edges.", leak="higher")
WIDTH = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Whole:
    """One graph without padding: nodes [n, features], adjacency [n, n]."""

    nodes: Tensor
    adjacency: Tensor


def gsm(guess: Whole, truth: Whole, hops: Sequence[int] = (0, 1, 2)) -> list[float]:
    """GSM-k for each k in `hops`, in [0, 1]: nodes are assigned one to one by their neighborhoods, and compared.

        GSM-0 = s F1 of the assigned nodes' features,   GSM-k = s max(0, R² of their neighborhoods of k hops),
        s = min(n, n') / max(n, n')

    A neighborhood is what k layers of a graph convolutional network with random weights make of it.

    References:
        Drencheva, Petrov, Baader, Dimitrov, Vechev, "GRAIN: Exact Graph Reconstruction from Gradients", 2025,
        arXiv:2503.01838. Departs in taking 64 channels and as many layers as the largest k, 2 at least.
    """
    if not len(guess.nodes) or not len(truth.nodes):
        return [0.0] * len(hops)
    depth = max(2, *hops)
    mine, real = (_embedded(graph, depth) for graph in (guess, truth))
    cost = sum(torch.cdist(real[k], mine[k]).square() for k in range(depth + 1))
    assert isinstance(cost, Tensor)
    pairs = torch.tensor(assign(cost))
    sizes = len(guess.nodes), len(truth.nodes)
    scale = min(sizes) / max(sizes)
    return [scale * _alike(mine[k][pairs[:, 1]], real[k][pairs[:, 0]], k) for k in hops]


def exact_graph(guess: Whole, truth: Whole) -> bool:
    """Whether both are the same graph, up to the order of nodes: all features and all edges."""
    return isomorphic(guess.nodes, guess.adjacency, truth.nodes, truth.adjacency)


def graph_print(graph: Whole) -> bytes:
    """Equal for the same graph in any order of nodes, and for others only where two layers see no difference."""
    return torch.cat([h.sum(0) for h in _embedded(graph, 2)]).mul(1e6).round().long().numpy().tobytes()


def counterparts(guess: Whole, truth: Whole) -> list[tuple[int, int]]:
    """Pairs (true node, guessed node), one to one, by their neighborhoods; of the same graph, those that keep all edges.

    Neighborhoods leave symmetric nodes undecided: guessed nodes of equal features are swapped while that joins more edges.
    """
    if not len(guess.nodes) or not len(truth.nodes):
        return []
    same = isomorphism(truth.nodes, truth.adjacency, guess.nodes, guess.adjacency)
    if same is not None:
        return list(enumerate(same))
    mine, real = (_embedded(graph, 2) for graph in (guess, truth))
    cost = sum(torch.cdist(real[k], mine[k]).square() for k in range(3))
    assert isinstance(cost, Tensor)
    places, chosen = (list(side) for side in zip(*assign(cost)))
    theirs, ours = (graph.adjacency.numpy() > 0 for graph in (truth, guess))
    alike = (guess.nodes[:, None] == guess.nodes[None]).all(2)
    best, improved = _common(theirs, ours, places, chosen), True
    while improved:
        improved = False
        for i, j in combinations(range(len(chosen)), 2):
            if not alike[chosen[i], chosen[j]]:
                continue
            chosen[i], chosen[j] = chosen[j], chosen[i]
            count = _common(theirs, ours, places, chosen)
            if count > best:
                best, improved = count, True
            else:
                chosen[i], chosen[j] = chosen[j], chosen[i]
    return list(zip(places, chosen))


def _common(theirs: np.ndarray, ours: np.ndarray, places: list[int], chosen: list[int]) -> int:
    return int((theirs[np.ix_(places, places)] & ours[np.ix_(chosen, chosen)]).sum())


def shared_edges(guess: Whole, truth: Whole) -> float:
    """F-measure of edges between `counterparts`, in [0, 1]; 1 where neither has any."""
    if not len(guess.nodes) or not len(truth.nodes):
        return 0.0
    places, chosen = (list(side) for side in zip(*counterparts(guess, truth)))
    theirs, ours = (graph.adjacency.numpy() > 0 for graph in (truth, guess))
    total = int(theirs.sum() + ours.sum())
    return 2 * _common(theirs, ours, places, chosen) / total if total else 1.0


def _alike(guess: Tensor, truth: Tensor, hop: int) -> float:
    if hop == 0:
        return float(2 * torch.minimum(guess, truth).sum() / (guess.sum() + truth.sum()).clamp_min(1e-12))
    missed = float((guess - truth).square().sum())
    spread = float((truth - truth.mean(0)).square().sum())
    # Nodes that all look alike have no spread: then they are right or not.
    return max(0.0, 1 - missed / spread) if spread > 1e-9 else float(missed < 1e-9)


def _embedded(graph: Whole, depth: int) -> list[Tensor]:
    """Features and what 1, 2, ... random layers make of them."""
    h, adjacency = graph.nodes.double(), graph.adjacency.double()
    root = (1 + adjacency.sum(1)).rsqrt()
    spread = root[:, None] * (adjacency + torch.eye(len(h), dtype=h.dtype)) * root
    found = [h]
    for weight in _weights(h.shape[1], depth):
        h = (spread @ h @ weight).relu()
        found.append(h)
    return found


@lru_cache(maxsize=4)
def _weights(features: int, depth: int) -> tuple[Tensor, ...]:
    rng, sizes = derive(0, "gsm"), [features, *[WIDTH] * (depth - 1)]
    return tuple(torch.randn(size, WIDTH, generator=rng, dtype=torch.float64) / size**0.5 for size in sizes)
