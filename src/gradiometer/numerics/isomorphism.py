"""Are two small graphs with features the same up to the order of their nodes?"""

from __future__ import annotations

import torch
from torch import Tensor


def colors(features: Tensor, adjacency: Tensor, *, rounds: int | None = None) -> list[int]:
    """Color refinement: nodes of one color have the same features, neighbors' features, and so on for `rounds` steps.

    Numbers are the same for the same colors within one call only: pass two graphs as one with two parts to compare them.

    Args:
        features: [n, features]. adjacency: [n, n], zeros and ones. rounds: None goes on until nothing changes.

    References:
        Weisfeiler, Leman, The Reduction of a Graph to Canonical Form, 1968.
    """
    _, first = features.unique(dim=0, return_inverse=True)
    found = first.tolist()
    near = [row.nonzero().flatten().tolist() for row in adjacency]
    for _ in range(len(found) if rounds is None else rounds):
        told = [(found[i], tuple(sorted(found[j] for j in near[i]))) for i in range(len(found))]
        names = {one: number for number, one in enumerate(sorted(set(told)))}
        before, found = found, [names[one] for one in told]
        if len(set(before)) == len(set(found)):
            break
    return found


def isomorphic(features: Tensor, adjacency: Tensor, other_features: Tensor, other_adjacency: Tensor) -> bool:
    """Whether a renaming of nodes turns one graph into the other, features and edges; see `isomorphism`."""
    return isomorphism(features, adjacency, other_features, other_adjacency) is not None


def isomorphism(
    features: Tensor, adjacency: Tensor, other_features: Tensor, other_adjacency: Tensor
) -> list[int] | None:
    """For every node of one graph the node of the other that it becomes, features and edges kept; None if there is no such renaming.

    Colors first, then a search with backtracking over nodes of equal color: exact, and quick for molecules.

    Args:
        features, other_features: [n, features]. adjacency, other_adjacency: [n, n], symmetric, zeros and ones.

    References:
        Cordella, Foggia, Sansone, Vento, A (Sub)Graph Isomorphism Algorithm for Matching Large Graphs, 2004.
    """
    count = len(features)
    if features.shape != other_features.shape or int(adjacency.sum()) != int(other_adjacency.sum()):
        return None
    both = colors(torch.cat([features, other_features]), torch.block_diag(adjacency, other_adjacency))
    mine, theirs = both[:count], both[count:]
    if sorted(mine) != sorted(theirs):
        return None
    near = [set(row.nonzero().flatten().tolist()) for row in adjacency]
    other = [set(row.nonzero().flatten().tolist()) for row in other_adjacency]
    place = dict[int, int]()
    found = _extends(_order(near, mine), near, other, mine, theirs, place, set())
    return [place[i] for i in range(count)] if found else None


def _order(near: list[set[int]], color: list[int]) -> list[int]:
    """Nodes of rare colors first, then always one that is joined to those before it, where there is one."""
    left, order = set(range(len(near))), list[int]()
    while left:
        joined = [i for i in left if any(j in near[i] for j in order)] or list(left)
        order.append(min(joined, key=lambda i: (color.count(color[i]), i)))
        left.remove(order[-1])
    return order


def _extends(
    order: list[int],
    near: list[set[int]],
    other: list[set[int]],
    mine: list[int],
    theirs: list[int],
    place: dict[int, int],
    used: set[int],
) -> bool:
    if len(place) == len(order):
        return True
    node = order[len(place)]
    for j in range(len(theirs)):
        if j in used or theirs[j] != mine[node]:
            continue
        if any((k in near[node]) != (place[k] in other[j]) for k in place):
            continue
        place[node] = j
        used.add(j)
        if _extends(order, near, other, mine, theirs, place, used):
            return True
        del place[node]
        used.remove(j)
    return False
