"""TabLeak on graphs: several starts of DLG, their nodes matched, and their probabilities pooled by how certain they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any, ClassVar

import torch
from torch import Tensor

from gradiometer.core import Batch, Card
from gradiometer.numerics.assignment import assign

from ..matching.problem import Problem
from ..matching.trial import Trial
from .dlg import GraphDLG, Relaxed


@dataclass(frozen=True, kw_only=True)
class GraphTabLeak(GraphDLG):
    """An ensemble of `GraphDLG`'s starts: p = sum_m (1 - H_m) p_m / sum_m (1 - H_m) for every block of features and every edge.

    Nodes of each member are assigned one to one to those of the member with the lowest objective, H is the normalized entropy of a
    block or an edge, in [0, 1], and the likeliest values of what is pooled are the guess. No truth is needed to tell
    how much to believe it: `entropy` in the notes is the mean of what is left of H.

    Args:
        restarts: members.
        nodes: as in `GraphDLG`.

    References:
        Vero, Balunović, Dimitrov, Vechev, "TabLeak: Tabular Data Leakage in Federated Learning", 2023, arXiv:2210.01785; on graphs as in
        Drencheva et al., "GRAIN", 2025, arXiv:2503.01838.
    """

    card: ClassVar[Card] = Card(
        summary="Pools several optimized graphs, their nodes matched, by how certain each is of every feature and edge.",
        title="TabLeak: Tabular Data Leakage in Federated Learning",
        authors="Vero, Balunović, Dimitrov, Vechev",
        year=2023,
        arxiv="2210.01785",
        modality="graph",
        family="matching",
        formula="p = sum_m (1 - H(p_m)) p_m / sum_m (1 - H(p_m)),  p_m of start m of min ||grad L(softmax X, sigmoid A) - g||^2",
        needs=("model", "recipe", "batch_size"),
        departs="on graphs; members weigh by their certainty, where the paper takes a median; squared distance of gradients, as GRAIN's baselines",
    )
    restarts: int = 5

    def _answer(self, problem: Problem, best: Trial, trials: list[Trial]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        assert isinstance(problem, Relaxed)
        members = [problem.decode(one.best) for one in (best, *(t for t in trials if t is not best and t.best))]
        blocks = problem.update.layout["nodes"].blocks
        soft = pooled(members, blocks)
        left = torch.cat([entropy(part) for part in soft["nodes"][soft["mask"].bool()].split(blocks, -1)], -1)
        return problem.hardened(soft), {"entropy": float(left.mean())}


def pooled(members: Sequence[Batch], blocks: Sequence[int]) -> Batch:
    """One graph of probabilities from those of several members, whose nodes stand in the order of the first's.

    Args:
        members: `nodes` [1, most, features], `adjacency` [1, most, most], `mask`, and `y`.
        blocks: widths of the blocks of features.
    """
    first = members[0]
    ordered = [first, *(_in_order(one, first) for one in members[1:])]
    nodes = torch.stack([one["nodes"] for one in ordered]).split(tuple(blocks), -1)
    edges = torch.stack([one["adjacency"] for one in ordered])[..., None]
    features = torch.cat([_weighed(part) for part in nodes], -1)
    y = torch.stack([one["y"] for one in ordered]).mean(0) if first["y"].is_floating_point() else first["y"]
    return Batch(nodes=features, adjacency=_weighed(edges)[..., 0], mask=first["mask"], y=y)


def entropy(p: Tensor) -> Tensor:
    """Of probabilities [..., width], or of one probability [..., 1], over its largest value: [..., 1], in [0, 1]."""
    both = p if p.shape[-1] > 1 else torch.cat([p, 1 - p], -1)
    return -torch.special.xlogy(both, both).sum(-1, keepdim=True) / log(both.shape[-1])


def _weighed(p: Tensor) -> Tensor:
    """The mean over members [m, ...], those that are certain counting most."""
    certain = (1 - entropy(p)).clamp_min(1e-6)
    return (certain * p).sum(0) / certain.sum(0)


def _in_order(one: Batch, first: Batch) -> Batch:
    """The nodes of one graph in the order of another's, by their features and those of their neighbors."""
    mine, theirs = (torch.cat([g["nodes"][0], (g["adjacency"] @ g["nodes"])[0]], 1) for g in (one, first))
    order = torch.arange(len(theirs))
    there = first["mask"][0].bool()
    for i, j in assign(torch.cdist(theirs[there], mine[there])):
        order[i] = j
    return one.replace(nodes=one["nodes"][:, order], adjacency=one["adjacency"][:, order][:, :, order])
