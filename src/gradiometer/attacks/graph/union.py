"""Neighborhoods of nodes that are all different: whoever names a neighbor is named by it."""

from __future__ import annotations

from itertools import combinations
from math import comb

import torch
from torch import Tensor

from gradiometer.numerics.span import Span

from .blocks import Blocks, Kinds, chosen_blocks, in_parts, table
from .body import Body
from .causes import Budget, Unread
from .widening import NEAREST, WIDENED, shared_direction

TRIED = 10_000
"""Neighborhoods of a node to look for a lost direction among, at most."""


def unique_neighborhoods(body: Body, kinds: Kinds, seen: Span, tolerance: float, budget: Budget) -> Blocks:
    """As `neighborhoods`, where every kind of node occurs once.

    Nodes are decided one by one, those with the fewest possible neighborhoods first. A decided node tells all others
    whether it is their neighbor: leaves come first, and most neighbors of a node of many are known when it is its turn.
    If nothing fits some nodes, but several of their possible neighborhoods lie beside the span in the same direction, the span
    lost it: it is added, and all is decided again.

    Raises:
        Unread: there are more to try than the budget has left.
    """
    for turn in range(WIDENED + 1):
        found, refusal = _decided(body, kinds, seen, tolerance, budget)
        lost = [node for node, around in found if not len(around)]
        direction = _lost_direction(body, kinds, lost, seen, tolerance) if turn < WIDENED else None
        if direction is None:
            break
        seen = seen.joined(direction)
    if refusal is not None:
        raise refusal
    return chosen_blocks(body, kinds, found)


def _decided(
    body: Body, kinds: Kinds, seen: Span, tolerance: float, budget: Budget
) -> tuple[list[tuple[int, Tensor]], Unread | None]:
    """Every node with its possible neighborhoods [n, degree], as far as the budget goes, and the refusal where it ends."""
    count, degrees = len(kinds), kinds.degrees.tolist()
    there = [set[int]() for _ in range(count)]
    open_ = [{j for j in range(count) if j != i and degrees[j]} for i in range(count)]
    left, found = set(range(count)), list[tuple[int, Tensor]]()
    while left:
        tries = {i: comb(len(open_[i]), degrees[i] - len(there[i])) if degrees[i] >= len(there[i]) else 0 for i in left}
        node = min(left, key=lambda i: (tries[i], i))
        try:
            budget.spend(tries[node])
        except Unread as refusal:
            return found, refusal
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
    return found, None


def _lost_direction(body: Body, kinds: Kinds, nodes: list[int], seen: Span, tolerance: float) -> Tensor | None:
    """The direction that the neighborhoods of some nodes share beside the span; those with too many to try are left out."""
    near = list[Tensor]()
    for node in nodes:
        degree = int(kinds.degrees[node])
        others = [j for j in range(len(kinds)) if j != node and kinds.degrees[j]]
        if 0 < comb(len(others), degree) <= TRIED:
            near += [out for _, out in in_parts(body, kinds, node, table(combinations(others, degree), degree))]
    if not near:
        return None
    hidden = torch.cat(near)
    return shared_direction(hidden[seen.distance(hidden).argsort()[:NEAREST]], seen, tolerance)


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
