"""Nodes, their neighborhoods and the neighborhoods of these: what a graph can be put together from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, combinations_with_replacement, product
from math import comb, prod

import numpy as np
import torch
from torch import Tensor

from gradiometer.numerics.span import Span

from .body import CHUNK, Body
from .causes import Budget, Cause, Unread

SKETCH = 16
"""Directions of the first look."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Kinds:
    """The kinds of nodes that may be there.

    Args:
        features: [t, features], zeros and ones. degrees: [t], how many neighbors each has.
    """

    features: Tensor
    degrees: Tensor

    def __len__(self) -> int:
        return len(self.degrees)


@dataclass(frozen=True, kw_only=True, eq=False)
class Blocks:
    """Kinds of nodes with the kinds of their neighbors.

    Args:
        center: [b]. around: for each, the kinds of its neighbors, rising. hidden: [b, width], what the first layer makes of it.
    """

    center: list[int]
    around: list[tuple[int, ...]]
    hidden: Tensor

    def __len__(self) -> int:
        return len(self.center)

    def take(self, kept: list[int]) -> Blocks:
        """Those at these places."""
        return Blocks(
            center=[self.center[i] for i in kept], around=[self.around[i] for i in kept], hidden=self.hidden[kept]
        )


def neighborhoods(
    body: Body, kinds: Kinds, bonds: Tensor, seen: Span, tolerance: float, budget: Budget, rng: torch.Generator
) -> Blocks:
    """All blocks whose output of the first layer lies in the span of what enters the second.

    Args:
        bonds: [t, t], which kinds may be neighbors. budget: of blocks to try.

    Raises:
        Unread: there are more than the budget has left.
    """
    sketch = seen.beside(SKETCH, rng).float().T.contiguous()
    limit = 4 * (tolerance + 1e-4) * (SKETCH / max(1, seen.right.shape[1] - seen.rank)) ** 0.5
    near = [
        (kind, part[(out @ sketch).norm(dim=1) <= limit * out.norm(dim=1)])
        for kind, part, out in tried(body, kinds, bonds, budget)
    ]
    found = chosen_blocks(body, kinds, near)
    return found.take((seen.distance(found.hidden) <= tolerance).nonzero().flatten().tolist())


def tries(kinds: Kinds, bonds: Tensor) -> int:
    """How many blocks there are of these kinds with these bonds."""
    return sum(comb(len(p) + d - 1, d) if d else 1 for p, d in zip(_partners(kinds, bonds), kinds.degrees.tolist()))


def _partners(kinds: Kinds, bonds: Tensor) -> list[Tensor]:
    return [(row & (kinds.degrees > 0)).nonzero().flatten() for row in bonds]


def tried(body: Body, kinds: Kinds, bonds: Tensor, budget: Budget) -> Iterator[tuple[int, Tensor, Tensor]]:
    """All blocks in parts: kind of the center, kinds around [n, degree], the first layer's output in single precision."""
    budget.spend(tries(kinds, bonds))
    partners, degrees = _partners(kinds, bonds), kinds.degrees.tolist()
    mapped = body.mapped(0, kinds.features).float()
    single = body.single()
    for kind, degree in enumerate(degrees):
        chosen = combinations_with_replacement(partners[kind].tolist(), degree)
        for part in _split(table(chosen, degree), mapped):
            yield kind, part, _hidden(single, mapped, kinds, kind, part)


def table(choices: Iterable[tuple[int, ...]], width: int) -> Tensor:
    """Choices of `width` numbers each as rows [n, width]."""
    if not width:
        return torch.zeros(1, 0, dtype=torch.long)
    return torch.from_numpy(np.fromiter(chain.from_iterable(choices), dtype=np.int64)).reshape(-1, width)


def in_parts(body: Body, kinds: Kinds, kind: int, around: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Kinds around one center [n, degree] in parts, with the first layer's output in double precision."""
    mapped = body.mapped(0, kinds.features)
    for part in _split(around, mapped):
        yield part, _hidden(body, mapped, kinds, kind, part)


def _split(around: Tensor, mapped: Tensor) -> Iterator[Tensor]:
    if len(around):
        yield from around.split(max(1, CHUNK // ((around.shape[1] + 1) * mapped.shape[1])))


def chosen_blocks(body: Body, kinds: Kinds, chosen: list[tuple[int, Tensor]]) -> Blocks:
    """These, in double precision."""
    mapped = body.mapped(0, kinds.features)
    hidden = [_hidden(body, mapped, kinds, kind, part) for kind, part in chosen if len(part)]
    return Blocks(
        center=[kind for kind, part in chosen for _ in part],
        around=[tuple(row) for _, part in chosen for row in part.tolist()],
        hidden=torch.cat(hidden) if hidden else mapped[:0],
    )


def _hidden(body: Body, mapped: Tensor, kinds: Kinds, kind: int, around: Tensor) -> Tensor:
    """The first layer's output [n, width] of nodes of one kind with these neighbors [n, k]."""
    degrees = kinds.degrees.to(mapped)
    own = mapped[kind].expand(len(around), -1)
    edges = torch.ones_like(around, dtype=mapped.dtype)
    return body.embed(0, own, mapped[around], edges, degrees[kind].expand(len(around)), degrees[around])


def matching(blocks: Blocks) -> Blocks:
    """Without the blocks that have a neighbor which no block fits, over and over."""
    while True:
        fits = {(c, n) for c, around in zip(blocks.center, blocks.around) for n in around}
        kept = [
            i for i, (c, around) in enumerate(zip(blocks.center, blocks.around)) if all((n, c) in fits for n in around)
        ]
        if len(kept) == len(blocks):
            return blocks
        blocks = blocks.take(kept)


@dataclass(frozen=True, kw_only=True, eq=False)
class Seconds:
    """Blocks with the blocks of their neighbors.

    Args:
        center: [s], which block. around: for each, the blocks of its neighbors. rows: [s, features + width], what enters the
            readout.
    """

    center: list[int]
    around: list[tuple[int, ...]]
    rows: Tensor

    def __len__(self) -> int:
        return len(self.center)

    def take(self, kept: list[int]) -> Seconds:
        """Those at these places."""
        return Seconds(
            center=[self.center[i] for i in kept], around=[self.around[i] for i in kept], rows=self.rows[kept]
        )


def second_neighborhoods(body: Body, kinds: Kinds, blocks: Blocks, most: int) -> Seconds:
    """All blocks with blocks for neighbors that fit: both name the other's kind.

    Raises:
        NotApplicable: there are more than `most`.
    """
    offered: dict[tuple[int, int], list[int]] = {}
    for i, (c, around) in enumerate(zip(blocks.center, blocks.around)):
        for n in set(around):
            offered.setdefault((c, n), []).append(i)
    centers, choices = list[int](), list[tuple[int, ...]]()
    for i, (c, kinds_around) in enumerate(zip(blocks.center, blocks.around)):
        times = Counter(kinds_around)
        size = prod(comb(len(offered[n, c]) + count - 1, count) for n, count in times.items())
        if len(centers) + size > most:
            raise Unread(
                Cause.TOO_MANY_NEIGHBORHOODS,
                f"more than {most} second neighborhoods of {len(blocks)} blocks fit",
                fix="raise `most`, if time does not matter",
            )
        for choice in product(*(combinations_with_replacement(offered[n, c], count) for n, count in times.items())):
            centers.append(i)
            choices.append(tuple(b for part in choice for b in part))
    return Seconds(center=centers, around=choices, rows=_rows(body, kinds, blocks, centers, choices))


def _rows(body: Body, kinds: Kinds, blocks: Blocks, center: list[int], around: list[tuple[int, ...]]) -> Tensor:
    mapped = body.mapped(1, blocks.hidden)
    kind = torch.tensor(blocks.center, dtype=torch.long)
    degrees = kinds.degrees[kind].to(mapped)
    width = max(map(len, around), default=0)
    neighbors, edges = torch.zeros(len(around), width, dtype=torch.long), mapped.new_zeros(len(around), width)
    for i, row in enumerate(around):
        neighbors[i, : len(row)], edges[i, : len(row)] = torch.tensor(row, dtype=torch.long), 1
    centers = torch.tensor(center, dtype=torch.long)
    parts = []
    for part in torch.arange(len(center)).split(max(1, CHUNK // ((width + 1) * mapped.shape[1]))):
        c, n = centers[part], neighbors[part]
        out = body.embed(1, mapped[c], mapped[n], edges[part], degrees[c], degrees[n])
        parts.append(torch.cat([kinds.features[kind[c]], out], 1))
    return torch.cat(parts)
