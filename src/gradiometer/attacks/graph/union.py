"""Neighborhoods of nodes that are all different: whoever names a neighbor is named by it."""

from __future__ import annotations

from itertools import combinations
from math import comb

import torch
from torch import Tensor

from gradiometer.numerics.span import Span

from .blocks import Blocks, Kinds, chosen_blocks, in_parts, table
from .body import Body
from .causes import Budget


def unique_neighborhoods(body: Body, kinds: Kinds, seen: Span, tolerance: float, budget: Budget) -> Blocks:
    """As `neighborhoods`, where every kind of node occurs once.

    Nodes are decided one by one, those with the fewest possible neighborhoods first. A decided node tells all others
    whether it is their neighbor: leaves come first, and most neighbors of a node of many are known when it is its turn.

    Raises:
        Unread: there are more to try than the budget has left.
    """
    count, degrees = len(kinds), kinds.degrees.tolist()
    there = [set[int]() for _ in range(count)]
    open_ = [{j for j in range(count) if j != i and degrees[j]} for i in range(count)]
    left, found = set(range(count)), list[tuple[int, Tensor]]()
    while left:
        tries = {i: comb(len(open_[i]), degrees[i] - len(there[i])) if degrees[i] >= len(there[i]) else 0 for i in left}
        node = min(left, key=lambda i: (tries[i], i))
        budget.spend(tries[node])
        left.remove(node)
        around = _inside(body, kinds, node, sorted(there[node]), sorted(open_[node]), seen, tolerance, tries[node])
        found.append((node, around))
        if len(around) > 1:
            continue
        mine = set(around[0].tolist()) if len(around) else set()
        for i in left:
            open_[i].discard(node)
            if i in mine:
                there[i].add(node)
            if not len(around) and i in there:
                there[i].discard(node)
    return chosen_blocks(body, kinds, found)


def _inside(
    body: Body, kinds: Kinds, node: int, known: list[int], offered: list[int], seen: Span, tolerance: float, tries: int
) -> Tensor:
    """The sets of neighbors [n, degree] of a node, among these, whose first-layer output lies in the span."""
    degree = int(kinds.degrees[node])
    if not tries:
        return torch.zeros(0, degree, dtype=torch.long)
    missing = degree - len(known)
    others = table(combinations(offered, missing), missing)
    sets = torch.cat([torch.tensor(known, dtype=torch.long).expand(len(others), -1), others], 1).sort(1).values
    kept = [part[seen.distance(out) <= tolerance] for part, out in in_parts(body, kinds, node, sets)]
    return torch.cat(kept)
