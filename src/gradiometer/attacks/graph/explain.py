"""From a gradient to how often every second neighborhood occurs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.core import Batch, Field, NotApplicable, Values
from gradiometer.numerics.span import Span

from .blocks import Blocks, Kinds, Seconds, matching, neighborhoods, second_neighborhoods, tries
from .body import Body
from .causes import Budget, Cause, Unread
from .counts import FITS, robust_shares
from .spans import binary_points, spanned
from .union import unique_neighborhoods
from .widening import WIDENED, missing_direction

READ, GLUED = 3000, 100_000
"""How many second neighborhoods, the nearest to the readout's span, may add up to its gradient, and of how many they are chosen."""
QUICK, DIFFERENT = 50_000, 300_000
"""Up to how many neighborhoods nobody asks whether all nodes are different, and how many are tried if they are."""
BEGINNINGS = 2**17
"""Beginnings of nodes to follow at most."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """The gradients of the three maps that read nodes, with their spans and tolerances.

    Args:
        fits: how much of the readout's gradient may stay unexplained: somewhat more than lies outside its span.
    """

    gradients: tuple[Tensor, Tensor, Tensor]
    spans: tuple[Span, Span, Span]
    tolerances: tuple[float, float, float]
    fits: float

    @classmethod
    def of(cls, body: Body, gradient: Values, tolerance: float | None) -> Seen:
        """What a gradient shows.

        Raises:
            NotApplicable: a map's gradient was not sent, or fills its space.
        """
        missing = [name for name in (*body.weights, body.first_bias, body.last_bias) if name not in gradient]
        if missing:
            raise NotApplicable(
                f"the update holds no gradient of {missing[0]!r}", fix="the attack needs all maps trained"
            )
        gradients = tuple(gradient[name].double() for name in body.weights)
        # Features enter the readout as well, and there no neighbors are mixed in: where A + I is singular, this shows more.
        features = gradients[2][:, : gradients[0].shape[1]]
        both = torch.cat([one / one.norm().clamp_min(1e-300) for one in (gradients[0], features)])
        found = [spanned(one, tolerance) for one in (both, *gradients[1:])]
        for name, one, (span, _) in zip(body.weights, gradients, found):
            if not span.rank:
                raise Unread(
                    Cause.NO_SPAN, f"the gradient of {name!r} {'shows no end of its span' if one.any() else 'is zero'}"
                )
            if span.rank > 0.9 * min(int((one.abs().sum(0) > 0).sum()), len(one)) and name != body.weights[0]:
                raise Unread(Cause.FULL_SPAN, f"the gradient of {name!r} has rank {span.rank}: {Cause.FULL_SPAN}")
        first, second, third = found
        outside = gradients[2] - gradients[2] @ third[0].right.T @ third[0].right
        return cls(
            fits=max(FITS, 3 * float(outside.norm() / gradients[2].norm())),
            gradients=(gradients[0], gradients[1], gradients[2]),
            spans=(first[0], second[0], third[0]),
            tolerances=(first[1], second[1], third[1]),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Explained:
    """What adds up to the readout's gradient.

    Args:
        shares: [classes or 1, seconds], which share of all nodes each is, by the node's class where it has one.
        left: what stays unexplained, relative to the gradient.
    """

    kinds: Kinds
    blocks: Blocks
    seconds: Seconds
    shares: Tensor
    left: float


def explain(
    body: Body, seen: Seen, gradient: Values, kinds: Kinds, bonds: Tensor, budget: Budget, rng: torch.Generator
) -> Explained:
    """Second neighborhoods of these kinds that add up to the readout's gradient, as far as they do.

    Where there are many neighborhoods to try, all nodes are taken to be different at first.
    Where the second span lacks a direction that many blocks point along, it is added, and all is tried again.

    Args:
        bonds: [kinds, kinds], which may be neighbors.

    Raises:
        Unread: there are too many, or none.
    """
    best: Explained | None = None
    span, tolerance = seen.spans[1], seen.tolerances[1]
    if (count := tries(kinds, bonds)) > QUICK:
        alone = budget if count > budget.left else Budget(min(DIFFERENT, budget.left))
        best = _of_different_nodes(body, seen, gradient, kinds, alone, rng)
        if best is not None and best.left < seen.fits:
            return best
    for turn in range(WIDENED + 1):
        blocks = matching(neighborhoods(body, kinds, bonds, span, tolerance, budget, rng))
        if len(blocks):
            found = _added_up(body, seen, gradient, kinds, blocks, rng)
            if best is None or found.left < best.left:
                best = found
            if best.left < seen.fits:
                return best
        if turn == WIDENED:
            break
        direction = missing_direction(body, kinds, bonds, span, tolerance, budget, rng)
        if direction is None:
            break
        span = span.joined(direction)
    if best is None:
        raise Unread(Cause.MISSING_NEIGHBORHOODS, "no neighborhoods fit the second span and each other")
    return best


def _of_different_nodes(
    body: Body, seen: Seen, gradient: Values, kinds: Kinds, budget: Budget, rng: torch.Generator
) -> Explained | None:
    """What adds up if every kind of node occurs once; None where nothing fits or the budget is spent."""
    try:
        blocks = matching(unique_neighborhoods(body, kinds, seen.spans[1], seen.tolerances[1], budget))
        return _added_up(body, seen, gradient, kinds, blocks, rng) if len(blocks) else None
    except Unread:
        return None


def _added_up(
    body: Body, seen: Seen, gradient: Values, kinds: Kinds, blocks: Blocks, rng: torch.Generator
) -> Explained:
    """The shares of all second neighborhoods of these blocks."""
    seconds = second_neighborhoods(body, kinds, blocks, GLUED)
    if len(seconds) > READ:
        nearest = seen.spans[2].distance(seconds.rows).argsort()[:READ]
        seconds = seconds.take(nearest.sort().values.tolist())
    delta = None if body.per_node else gradient[body.last_bias].double()
    slopes = body.slopes(seconds.rows, delta)
    classes, count = slopes.shape[:2]
    rows = torch.cat([seconds.rows, torch.ones_like(seconds.rows[:, :1])], 1)
    target = torch.cat([seen.gradients[2], gradient[body.first_bias].double()[:, None]], 1)
    balance = _balance(seconds).repeat(1, classes)
    weights, left = robust_shares(target, slopes.flatten(0, 1), rows.repeat(classes, 1), balance, seen.fits, rng)
    return Explained(kinds=kinds, blocks=blocks, seconds=seconds, shares=weights.reshape(classes, count), left=left)


def _balance(seconds: Seconds) -> Tensor:
    """Bonds have two ends: for every pair of blocks, as many are named from one side as from the other; [pairs, seconds].

    Neighborhoods whose features add up to the same cause the same gradient. This tells them apart, by the neighbors.
    """
    places = dict[tuple[int, int], int]()
    entries = list[tuple[int, int, float]]()
    for column, (center, around) in enumerate(zip(seconds.center, seconds.around)):
        for other in around:
            if other != center:
                place = places.setdefault((min(center, other), max(center, other)), len(places))
                entries.append((place, column, 1.0 if center < other else -1.0))
    balance = torch.zeros(len(places), len(seconds), dtype=torch.float64)
    if entries:
        rows, columns, values = zip(*entries)
        balance.index_put_((torch.tensor(rows), torch.tensor(columns)), torch.tensor(values).double(), accumulate=True)
    return balance


def kinds_of_nodes(seen: Seen, field: Field) -> Kinds:
    """All kinds of nodes in the first span: exactly one 1 in each block of several columns.

    Raises:
        Unread: there are too many.
    """
    starts = [sum(field.blocks[:i]) for i in range(len(field.blocks))]
    wide = next((i for i, width in enumerate(field.blocks) if width > 1), None)
    whole = None if wide is None else torch.arange(starts[wide], starts[wide] + field.blocks[wide])
    live = seen.gradients[0].abs().sum(0) > 0
    nodes = binary_points(seen.spans[0], live, whole, BEGINNINGS)
    for start, width in zip(starts, field.blocks):
        if width > 1:
            nodes = nodes[nodes[:, start : start + width].sum(1) == 1]
    nodes = nodes[seen.spans[0].distance(nodes) <= seen.tolerances[0]]
    return _with_degrees(nodes, field)


def supported_kinds(seen: Seen, field: Field, most: int = 2000) -> Kinds:
    """All kinds of nodes whose entries occur at all, for where the first span lacks some; none if they are more than `most`.

    Raises:
        Unread: there are more than `most`.
    """
    live = seen.gradients[0].abs().sum(0) > 0
    nodes = torch.zeros(1, 0, dtype=torch.float64)
    for part in live.split(field.blocks):
        flag = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        choices = torch.eye(len(part), dtype=torch.float64)[part] if len(part) > 1 else flag[: 1 + int(part[0])]
        if len(nodes) * len(choices) > most:
            raise Unread(Cause.TOO_MANY_NODES, f"more than {most} nodes have only entries that occur")
        nodes = torch.cat([nodes.repeat_interleave(len(choices), 0), choices.repeat(len(nodes), 1)], 1)
    return _with_degrees(nodes, field)


def _with_degrees(nodes: Tensor, field: Field) -> Kinds:
    assert field.degree is not None
    start = sum(field.blocks[: field.degree])
    return Kinds(features=nodes, degrees=nodes[:, start : start + field.blocks[field.degree]].argmax(1))


def stages(kinds: Kinds, public: Batch | None) -> Iterator[tuple[Kinds, Tensor]]:
    """Which kinds and which bonds between them to expect: those of public graphs, then public kinds, then all."""
    if not len(kinds):
        return
    everything = torch.ones(len(kinds), len(kinds), dtype=torch.bool)
    if public is not None:
        known, pairs = _public(kinds, public)
        some = Kinds(features=kinds.features[known], degrees=kinds.degrees[known])
        if len(some):
            yield some, pairs[known][:, known]
            if not bool(pairs[known][:, known].all()):
                yield some, everything[: len(some), : len(some)]
        if len(some) == len(kinds):
            return
    yield kinds, everything


def _public(kinds: Kinds, public: Batch) -> tuple[Tensor, Tensor]:
    """Which kinds occur in public graphs, and which pairs of them as neighbors."""
    code = torch.randint(1, 2**40, (kinds.features.shape[1],), generator=torch.Generator().manual_seed(0))
    mine = kinds.features.long() @ code
    there = public["mask"].bool()
    theirs = torch.where(there, public["nodes"].long() @ code, -1)
    graph, i, j = public["adjacency"].nonzero(as_tuple=True)
    ends = torch.stack([theirs[graph, i], theirs[graph, j]], 1).unique(dim=0)
    bonded = {(int(a), int(b)) for a, b in ends}
    pairs = torch.tensor([[(int(a), int(b)) in bonded for b in mine] for a in mine], dtype=torch.bool)
    return torch.isin(mine, theirs), pairs
