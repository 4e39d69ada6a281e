"""Slopes in doubt under normalization by own statistics, settled by the layer below: once its input is known, its gradient tells.

A flip's change passes the normalization as all derivatives do: it loses its mean and its part along the output.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from . import second_look
from .checksum import Units, by_channel, from_channel
from .doubts import outliers, owner_of
from .forward_known import agreeing
from .graph import Activation, Affine, Node, Sum
from .own_norm import At
from .train_readers import Pair, reader
from .train_record import TrainWalk

MANY = 0.3
"""Part of a layer's channels that may contradict their slopes: of more, something else is wrong."""


def corrected(state: TrainWalk, pairs: Sequence[Pair], value: Tensor) -> bool:
    """Takes the other slope for units whose channel's own weight gradient says so; whether there were any.

    Args:
        pairs: the layers that read `value`, which may have any factor that their normalizations hide.
    """
    found = [_look(state, layer, norm, value) for layer, norm in pairs if norm is not None]
    return any(found)


def _look(state: TrainWalk, layer: Node, norm: Node, value: Tensor) -> bool:
    owner = owner_of(state.graph, norm.name)
    if owner is None or owner not in state.units:
        return False
    found, by = state.units[owner], replace(reader(state, layer, norm), ignored=())
    at = by.at(value)
    assert at is not None
    delta = at.pull(by.derivatives)
    weight = by.weight
    residuals = weight * (by.gradient - by.correlate(value, delta)).flatten(1).norm(dim=1)
    wrong = outliers(residuals)
    if len(wrong) > MANY * len(residuals):
        return False
    rows, typical = by.gradient[0].numel(), float(residuals.median())
    flips, left = torch.zeros_like(found.slope, dtype=torch.bool), []
    for c in wrong:
        effects = _Effects.of(at, found, c)
        error = typical / float(weight[c]) / rows**0.5
        mended = second_look.flips(by.layer, value, delta, by.gradient, found, effects, c, error)
        if mended is None:
            left.append(c)
        else:
            flips[c, mended] = True
    for name in _branches(state, state.graph.nodes[owner].inputs[0]):
        state.doubtful[name] = tuple(left)
    if bool(flips.any()):
        _flip(state, owner, flips)
    return bool(flips.any())


@dataclass(frozen=True, eq=False)
class _Effects:
    """What flips of a channel's units add to its rows. Args: scale: by unit, gamma / sigma; normal: z^; count: normalized together."""

    found: Units
    channel: int
    scale: Tensor
    normal: Tensor
    count: float

    @classmethod
    def of(cls, at: At, found: Units, channel: int) -> _Effects:
        scale, normal = (by_channel(t.expand_as(at.normal))[channel] for t in (at.norm.gamma / at.sigma, at.normal))
        alone = torch.zeros_like(at.normal)
        alone.flatten()[0] = 1
        count = 1 / float(at.norm.average(alone).flatten()[0])
        return cls(found, channel, scale, normal, count)

    def __call__(self, patches: Tensor, units: Tensor) -> Tensor:
        shared = patches.sum(1)[:, None] + torch.outer(patches @ self.normal, self.normal[units])
        return (patches[:, units] - shared / self.count) * (self.scale[units] * self.found.change(self.channel, units))


def _flip(state: TrainWalk, owner: str, flips: Tensor) -> None:
    """Takes the other slope for these units, and adds what that changes to the derivatives that the walk has already."""
    before, node = state.units[owner], state.graph.nodes[owner]
    assert isinstance(node.operation, Activation)
    after = state.units[owner] = before.flipped(flips)
    state.values[owner] = agreeing(node.operation, state.raw[owner], after.slope)
    state.steps[owner].second += int(flips.sum())
    change = from_channel(after.delta * (after.slope - before.slope), state.deltas[owner])
    _add(state, node.inputs[0], change)


def _add(state: TrainWalk, name: str, change: Tensor) -> None:
    """As `TrainWalk.add`, where the tensor's derivatives were handed on already."""
    state.add(name, change)
    node = state.graph.nodes[name]
    if name in state.passed and isinstance(node.operation, Affine):
        for below, part in zip(node.inputs, node.operation.pull(change, state.graph.shapes(node))):
            _add(state, below, part)


def _branches(state: TrainWalk, name: str) -> Iterator[str]:
    """A tensor and what it is the sum of, channel by channel."""
    yield name
    node = state.graph.nodes[name]
    if isinstance(node.operation, Sum):
        for below in node.inputs:
            yield from _branches(state, below)
