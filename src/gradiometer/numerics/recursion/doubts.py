"""Doubts about slopes, settled by the layer below the activation: once its input is known, its own gradient tells."""

from __future__ import annotations

import math
from functools import partial
from typing import NoReturn

import torch
from torch import Tensor

from . import second_look
from .checksum import Units, from_channel
from .equations import input_matrix
from .forward_known import agreeing
from .graph import Activation, Graph, Layer, Node, Norm, Sum
from .joint import Answer
from .record import Walk
from .top import branches

OUTLIER = 8.0
"""A channel's equations disagree if their residual exceeds the median channel's by this factor."""
LOOKS, PATIENCE = 4, 12
"""How often the slopes of one activation are reconsidered, in noise and without."""


class Stop(Exception):
    """The walk cannot go on below a tensor."""


class Again(Exception):
    """Slopes of an activation above were corrected: the walk goes on from there."""


def outliers(residuals: Tensor, factor: float = OUTLIER) -> list[int]:
    """Channels whose residual exceeds the median live channel's by this factor."""
    live = residuals[residuals > 0]
    limit = factor * float(live.median()) if len(live) else 0.0
    return (residuals > limit).nonzero()[:, 0].tolist()


def look_again(state: Walk, reader: Node, owner: str, answer: Answer, channels: list[int]) -> None:
    """Corrects the slopes behind a reader's doubtful channels.

    Raises:
        Again: some slopes changed.
        Stop: a channel's gradient fits no slopes.
    """
    layer, found = reader.operation, state._units[owner]
    assert isinstance(layer, Layer)
    residuals = answer.channels[reader.name]
    typical = float(residuals[residuals > 0].median())
    wrong = [c for c in channels if residuals[c] > OUTLIER * typical]
    state._doubtful[owner] = ()
    if not wrong:
        return
    scale = _scale(state, reader, owner)
    flips = torch.zeros_like(found.slope, dtype=torch.bool)
    for c in wrong:
        mended = second_look.flips(
            layer,
            answer.value,
            state.deltas[reader.name],
            state.gradient[layer.weight_name],
            found,
            partial(_effects, found, scale, c),
            c,
            math.hypot(typical / float(answer.weights[reader.name][c]), _blur(state, reader, answer, c)),
        )
        if mended is None and (state.noise or not bool(found.price[c].isfinite().any())):
            continue  # no slope is in doubt: a saturated unit's was known dimly, and the channel stays out
        if mended is None:
            raise Stop(f"channel {c} of {layer.where} contradicts the others")
        flips[c, mended] = True
    looks = state._looks[owner] = state._looks.get(owner, 0) + 1
    if not bool(flips.any()) or (looks > LOOKS and state.noise):
        return
    if looks > PATIENCE:
        raise Stop(f"{len(wrong)} channels of {layer.where} contradict the others")
    _flip(state, owner, flips)


def _blur(state: Walk, reader: Node, answer: Answer, channel: int) -> float:
    """Error of a channel's rows of the weight gradient, root mean square, that the expected errors of the input cause."""
    layer, delta = reader.operation, state.deltas[reader.name]
    assert isinstance(layer, Layer)
    squares = delta[..., channel] if layer.dense else delta[:, channel]
    patches = input_matrix(layer, answer.deviation.square())[channel // (layer.weight.shape[0] // layer.groups)]
    return float((patches @ squares.flatten().square()).mean().sqrt())


def _effects(found: Units, scale: Tensor, channel: int, patches: Tensor, units: Tensor) -> Tensor:
    return patches[:, units] * (scale[channel] * found.change(channel, units))


def reconsider(state: Walk, reader: Node, owner: str, answer: Answer) -> None:
    """Corrects all slopes behind a reader that its gradient and their values, both noisy, make unlikely together.

    Raises:
        Again: some slopes changed.
    """
    layer, found = reader.operation, state._units[owner]
    assert isinstance(layer, Layer)
    scale = _scale(state, reader, owner)
    flips = second_look.likelier(layer, answer.value, state.gradient[layer.weight_name], found, scale)
    looks = state._looks[owner] = state._looks.get(owner, 0) + 1
    if looks <= LOOKS and bool(flips.any()):
        _flip(state, owner, flips)


def _scale(state: Walk, reader: Node, owner: str) -> Tensor:
    """Derivative of the activation's input by the reader's output, a channel."""
    return next(s for node, s in branches(state.graph, state.graph.nodes[owner].inputs[0]) if node is reader)


def _flip(state: Walk, owner: str, flips: Tensor) -> NoReturn:
    """Takes the other slope for these units of an activation, from which the walk then goes on."""
    found = state._units[owner] = state._units[owner].flipped(flips)
    state.steps[owner].second += int(flips.sum())
    activation = state.graph.nodes[owner]
    terms = from_channel(found.delta * found.slope, state.deltas[owner])
    state._doubtful[owner] = ()
    state._waiting[activation.inputs[0]][owner] = terms
    assert isinstance(activation.operation, Activation)
    state.values[owner] = agreeing(activation.operation, state._raw[owner], found.slope)
    raise Again(owner)


def owner_of(graph: Graph, name: str) -> str | None:
    """The activation whose slopes decide this layer's derivatives, channel by channel; None if there is no single one."""
    consumers = graph.consumers[name]
    if len(consumers) != 1:
        return None
    above = graph.nodes[consumers[0]]
    if isinstance(above.operation, Activation):
        return above.name
    return owner_of(graph, above.name) if isinstance(above.operation, (Norm, Sum)) else None
