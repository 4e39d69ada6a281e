"""Graphs that have given neighborhoods: which node is joined to which."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

Edges = tuple[tuple[int, int], ...]
RING = {3: 3.0, 4: 3.0, 5: 0.2, 6: 0.0, 7: 1.0}
"""How odd a bond is by the smallest ring that it is in; larger rings count 2."""
LARGE, APART = 2.0, 3.0
"""How odd a bond in a larger ring is, and a part that hangs on to nothing."""


@dataclass(kw_only=True)
class Search:
    """Depth-first search over graphs whose nodes have the blocks and the neighbors' blocks that they must have.

    Of nodes that nothing tells apart yet only the first is tried. With `prior`, a bond that closes a ring of five or six comes
    before one that grows the graph, and this before any other ring.

    Args:
        blocks: [n], each node's block. around: [n], the blocks of its neighbors. most: steps at most.
    """

    blocks: Sequence[int]
    around: Sequence[Sequence[int]]
    prior: bool
    most: int
    steps: int = field(default=0, init=False)

    def run(self) -> Iterator[Edges]:
        """The graphs, one after the other, until all are found or the steps are used up."""
        self.need = [Counter(around) for around in self.around]
        self.near: list[list[int]] = [[] for _ in self.blocks]
        self.touched: list[int] = []
        self.members: dict[int, list[int]] = {}
        for i, block in enumerate(self.blocks):
            self.members.setdefault(block, []).append(i)
        yield from self._extend()

    def _extend(self) -> Iterator[Edges]:
        self.steps += 1
        if self.steps > self.most:
            return
        opened = next((i for i in self.touched if self.need[i]), None)
        if opened is None:
            opened = next((i for i, need in enumerate(self.need) if need), None)
            if opened is None:
                yield tuple((i, j) for i, near in enumerate(self.near) for j in near if i < j)
                return
            self.touched.append(opened)
            yield from self._extend()
            self.touched.pop()
            return
        choices = {block: self._partners(opened, block) for block in self.need[opened]}
        block = min(choices, key=lambda b: len(choices[b]) - self.need[opened][b])
        if len(choices[block]) < self.need[opened][block]:
            return
        for partner in self._ordered(opened, choices[block]):
            fresh = not self.near[partner] and partner not in self.touched
            self._join(opened, partner, 1)
            if fresh:
                self.touched.append(partner)
            yield from self._extend()
            if fresh:
                self.touched.pop()
            self._join(opened, partner, -1)

    def _join(self, i: int, j: int, sign: int) -> None:
        for one, other in ((i, j), (j, i)):
            block = self.blocks[other]
            self.need[one][block] -= sign
            if not self.need[one][block]:
                del self.need[one][block]
            if sign > 0:
                self.near[one].append(other)
            else:
                self.near[one].pop()

    def _partners(self, i: int, block: int) -> list[int]:
        """Nodes of this block that may still be joined to node i."""
        mine, near = self.blocks[i], self.near[i]
        return [j for j in self.members.get(block, ()) if j != i and j not in near and self.need[j][mine]]

    def _ordered(self, i: int, partners: list[int]) -> list[int]:
        """The likeliest first, and of those that nothing tells apart yet only one."""
        fresh, kept = set[tuple[int, ...]](), list[int]()
        for j in partners:
            if not self.near[j]:
                kind = tuple(self.around[j])
                if kind in fresh:
                    continue
                fresh.add(kind)
            kept.append(j)
        if self.prior:
            reach = distances(self.near, i)
            kept.sort(key=lambda j: _order(reach.get(j)))
        return kept


def _order(distance: int | None) -> float:
    """What is tried first: rings of six and five, growth, rings of seven, the rest."""
    return 1.5 if distance is None else {5: 0.0, 4: 1.0, 6: 2.0}.get(distance, 3.0)


def distances(near: Sequence[Sequence[int]], start: int) -> dict[int, int]:
    """How far each node that can be reached is."""
    found, queue = {start: 0}, deque([start])
    while queue:
        i = queue.popleft()
        for j in near[i]:
            if j not in found:
                found[j] = found[i] + 1
                queue.append(j)
    return found


def oddity(edges: Edges, count: int) -> float:
    """How unlike a molecule a graph is: by the smallest ring through each bond, and by the number of parts."""
    near: list[list[int]] = [[] for _ in range(count)]
    for i, j in edges:
        near[i].append(j)
        near[j].append(i)
    total, seen = 0.0, set[int]()
    for i in range(count):
        if i not in seen:
            total += APART if seen else 0.0
            seen |= distances(near, i).keys()
    for i, j in edges:
        near[i].remove(j)
        near[j].remove(i)
        around = distances(near, i).get(j)
        near[i].append(j)
        near[j].append(i)
        if around is not None:
            total += RING.get(around + 1, LARGE)
    return total
