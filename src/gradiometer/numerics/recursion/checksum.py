"""Bias gradients as checksums: a bias' gradient is the sum of delta over examples and positions, channel by channel.

One unit whose slope is taken wrongly shows in its channel's sum at once. Of the sets of up to three units whose flips
mend the sum, the one is taken that the units' values make likeliest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .graph import Activation, Graph, Layer, MaxPool, Norm, Reshape, Sum

UNLIKELY = 5000.0
"""Price from which a unit's slope is not in doubt, a hundred expected errors: enough of them add up to any sum by chance."""
BORDER = 6.0
"""Expected errors above zero from which a unit is taken for active, at most."""
SPREAD = 16.0
"""A sum disagrees if its error exceeds the median channel's by this factor."""
CANDIDATES = (4096, 200, 40)
"""Among how many of a channel's units, the likeliest ones, one, two or three are sought whose flips mend a sum."""
CHANCE = 5.0
"""Price of each flip beyond the first: there are many more pairs than units, and some of them fit by chance."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Units:
    """An activation's units as a matrix [channels, examples * positions], with what decides their slopes.

    Args:
        price: what it costs, in log-likelihood, to take the other slope.
        delta: derivatives by the output; slope: as assumed; other: the slope not taken.
    """

    price: Tensor
    delta: Tensor
    slope: Tensor
    other: Tensor

    def flipped(self, flips: Tensor) -> Units:
        """The same units, some with the other slope."""
        return Units(
            price=torch.where(flips, -self.price, self.price),
            delta=self.delta,
            slope=torch.where(flips, self.other, self.slope),
            other=torch.where(flips, self.slope, self.other),
        )

    def near(self, channel: int, count: int) -> Tensor:
        """The units of a channel that may most likely have the other slope."""
        return torch.argsort(self.price[channel])[:count]

    def change(self, channel: int, units: Tensor) -> Tensor:
        """What flipping each of these units adds to its derivative by the input."""
        return self.delta[channel, units] * (self.other - self.slope)[channel, units]


@dataclass(frozen=True, kw_only=True)
class Check:
    """Result of comparing sums.

    Args:
        flips: units that mend them [channels, examples * positions].
        doubtful: channels whose sum still disagrees, or was mended by more than one flip.
        residual: largest disagreement left, relative to a channel's mean sum of absolute terms.
    """

    flips: Tensor
    doubtful: tuple[int, ...]
    residual: float


def sums(graph: Graph, gradient: Mapping[str, Tensor], name: str) -> Tensor | None:
    """The gradient of a bias that is added to this tensor (directly, or in a branch that is): the sums of its delta."""
    node = graph.nodes[name]
    operation = node.operation
    if isinstance(operation, (Norm, Layer)):
        return gradient.get(operation.bias_name or "")
    if isinstance(operation, Sum):
        found = (sums(graph, gradient, branch) for branch in dict.fromkeys(node.inputs))
        return next((value for value in found if value is not None), None)
    if isinstance(operation, MaxPool):
        return sums(graph, gradient, node.inputs[0])
    if isinstance(operation, Reshape) and graph.nodes[node.inputs[0]].shape[:1] == node.shape[:1]:
        return sums(graph, gradient, node.inputs[0])
    return None


def by_channel(value: Tensor) -> Tensor:
    """[channels, examples * positions] of maps [n, channels, ...] or of rows [n, channels] and [n, tokens, channels]."""
    return (value.movedim(1, 0) if value.ndim == 4 else value.movedim(-1, 0)).flatten(1)


def from_channel(matrix: Tensor, like: Tensor) -> Tensor:
    """The inverse of `by_channel`, in the shape of `like`."""
    if like.ndim == 4:
        return matrix.reshape(like.movedim(1, 0).shape).movedim(0, 1)
    return matrix.reshape(like.movedim(-1, 0).shape).movedim(0, -1)


def border(value: Tensor, deviation: Tensor) -> Tensor:
    """Expected errors from which an output of a ReLU is likelier active than zero: half are zero, half of density 1 / size."""
    odds = 0.4 * value.square().mean().sqrt() / deviation.clamp_min(1e-300)
    return (2 * odds.clamp_min(1).log()).sqrt().clamp(2.0, BORDER)


def units(activation: Activation, value: Tensor, deviation: Tensor, delta: Tensor) -> Units:
    """Slopes that the values suggest. An inactive unit's value is 0 (ReLU) with a normal error.

    Args:
        value: the activation's output [n, ...]; deviation: its expected error; delta: derivatives by it.
    """
    u, error, d = by_channel(value), by_channel(deviation), by_channel(delta)
    if not activation.kinked:
        slope = activation.slope(u)
        if activation.twin is not None:
            other, price = activation.twin(u)
            return Units(price=price, delta=d, slope=slope, other=other)
        return Units(price=torch.full_like(u, torch.inf), delta=d, slope=slope, other=slope)
    low, high = (float(activation.slope(u.new_tensor([v]))) for v in (-1.0, 1.0))
    score = (u / error.clamp_min(1e-300)).clamp(-1e6, 1e6)
    if low:
        return Units(
            price=score.square() / 2,
            delta=d,
            slope=torch.where(u > 0, high, low),
            other=torch.where(u > 0, low, high),
        )
    limit = border(u, error)
    active = score > limit
    full = active & (activation.slope(u) == 0)
    price = (limit**2 - score.clamp_min(0).square() + score.clamp_max(0).square()) / 2
    price = torch.where(full, torch.inf, torch.where(active, -price, price))
    active = active & ~full
    return Units(
        price=price,
        delta=d,
        slope=torch.where(active, high, low),
        other=torch.where(active, low, high),
    )


def check(found: Units, sums: Tensor, variance: Tensor | None = None) -> Check:
    """Compares every channel's sum of derivatives by the input, and mends those that disagree.

    Args:
        variance: of the sums, beyond rounding.
    """
    terms = found.delta * found.slope
    size = terms.abs().sum(1)
    rest = terms.sum(1) - sums
    scale = float(size.mean())
    typical = float(rest[size > 0].abs().median()) if bool((size > 0).any()) else 0.0
    limit = min(max(SPREAD * typical, 1e-7 * scale), 1e-4 * scale)
    if variance is not None:
        limit = max(limit, BORDER * float(variance.mean().sqrt()))
    flips = torch.zeros_like(terms, dtype=torch.bool)
    doubtful: list[int] = []
    for c in (rest.abs() > limit).nonzero()[:, 0].tolist():
        mended = _mend(found, c, float(rest[c]), limit)
        if len(mended):
            flips[c, mended] = True
            rest[c] += found.change(c, mended).sum()
        if len(mended) != 1:
            doubtful.append(c)
    return Check(flips=flips, doubtful=tuple(doubtful), residual=float(rest.abs().max()) / max(scale, 1e-300))


def _mend(found: Units, channel: int, rest: float, limit: float) -> Tensor:
    """The likeliest one, two or three units whose flips mend the sum; empty if none do."""
    best, least = torch.empty(0, dtype=torch.long), math.inf
    for count, among in enumerate(CANDIDATES, 1):
        near = found.near(channel, among)
        near = near[found.price[channel, near] < UNLIKELY]
        if len(near) < count:
            break
        sets = torch.combinations(torch.arange(len(near)), count)
        left = (rest + found.change(channel, near)[sets].sum(1)).abs()
        cost = found.price[channel, near][sets].sum(1) + torch.log1p((left * SPREAD / limit).square())
        cost = torch.where(left <= limit, cost + CHANCE * (count - 1), torch.inf)
        if float(cost.min()) < least:
            best, least = near[sets[cost.argmin()]], float(cost.min())
    return best
