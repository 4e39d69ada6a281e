"""The walk: from known derivatives near the head down to the input, solving each tensor from the layers that read it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NoReturn

import torch
from torch import Tensor

from . import routing, second_look
from .checksum import check, from_channel, sums, units
from .forward_known import Estimate, Known
from .graph import Activation, Affine, Graph, Layer, MaxPool, Node, Norm, Reshape, Sum
from .joint import Answer, lacking, solve_tensor
from .noise import NONE, Noise
from .record import ENOUGH, PLENTY, Step, Walk
from .remainder import remainder
from .top import branches

WRONG_RESIDUAL, WRONG_EXCESS = 1e-3, 5.0
"""Relative residual of a layer's equations, and in units of what noise explains, above which something over them is wrong."""
OUTLIER = 8.0
"""A channel's equations disagree if their residual exceeds the median channel's by this factor."""
EASY = 4.0
"""Known outputs for every open direction that make closing a system cheaper than descent from what is known above."""
LOOKS = 4
"""How often the slopes of one activation are reconsidered."""


class _Stop(Exception):
    """The walk cannot go on below a tensor."""


class _Again(Exception):
    """Slopes of an activation above were corrected: the walk goes on from there."""


def walk(
    graph: Graph,
    gradient: Mapping[str, Tensor],
    start: Mapping[str, Tensor],
    routes: Mapping[str, Tensor] | None = None,
    *,
    noise: Noise = NONE,
    rescaled: bool = False,
) -> Walk:
    """Walks down as far as the equations determine every tensor.

    Args:
        gradient: of the mean loss by parameter name, in the graph's dtype.
        start: derivatives by some tensors [n, ...] below which everything is to be found.
        routes: which positions max poolings take, where that is known beforehand.
        noise: in the gradient.
        rescaled: whether each tensor of the gradient carries an unknown factor; only comparable ones are then to be given.
    """
    waiting: dict[str, dict[str, Tensor]] = {name: {} for name in graph.nodes}
    state = Walk(
        graph=graph, gradient=gradient, noise=noise, rescaled=rescaled, routes=dict(routes or {}), _waiting=waiting
    )
    order = list(graph.nodes)[::-1]
    place = 0
    while place < len(order):
        node = graph.nodes[order[place]]
        arrived = state._waiting[node.name]
        if node.name in start:
            state.deltas[node.name] = start[node.name]
        elif arrived and set(arrived) == set(graph.consumers[node.name]):
            state.deltas[node.name] = torch.stack(list(arrived.values())).sum(0)
        place += 1
        if node.name not in state.deltas:
            continue
        try:
            _visit(state, node)
        except _Again as again:
            place = order.index(str(again)) + 1
        except _Stop as stop:
            if not state.stopped or node.name == graph.input:
                state.stopped = str(stop)
    if graph.input in state.values:
        state.stopped = ""  # by a way around what stopped others
    elif not state.stopped:
        state.stopped = "a branch of the network does not come from the layers that were followed"
    return state


def _visit(state: Walk, node: Node) -> None:
    """Solves the node's value where it can be, and hands its delta to the node's inputs."""
    graph, operation, delta = state.graph, node.operation, state.deltas[node.name]
    if isinstance(operation, Activation):
        value = state._raw[node.name] = _seen(operation, _value(state, node))
        state._waiting[node.inputs[0]][node.name] = _sloped(state, node, operation, value, delta)
        state.values[node.name] = _clean(operation, value, state._units[node.name].slope)
    elif isinstance(operation, Affine):
        if isinstance(operation, Reshape) and any(_reads(state, name) for name in graph.consumers[node.name]):
            state.values[node.name] = _value(state, node)
        for name in node.inputs:
            state._waiting[name].pop(node.name, None)
        for name, pulled in zip(node.inputs, operation.pull(delta, graph.shapes(node))):
            before = state._waiting[name].get(node.name)
            state._waiting[name][node.name] = pulled if before is None else before + pulled
    elif isinstance(operation, MaxPool):
        if node.name not in state.routes:
            found = routing.routes(graph, state.gradient, node, delta)
            if isinstance(found, str):
                raise _Stop(found)
            state.routes[node.name] = found
        shape = graph.nodes[node.inputs[0]].shape
        state._waiting[node.inputs[0]][node.name] = operation.pull(delta, state.routes[node.name], shape)
    elif node.inputs:
        raise _Stop(f"{operation.where} cannot be followed backward")
    else:
        state.values[node.name] = _value(state, node)


def _sloped(state: Walk, node: Node, operation: Activation, value: Estimate, delta: Tensor) -> Tensor:
    """Derivatives by the activation's input, slopes being checked by the bias gradient."""
    found = units(operation, value.value, value.deviation, delta)
    step = state.steps.setdefault(node.name, Step(where=operation.where, shape=node.shape))
    known = sums(state.graph, state.gradient, node.inputs[0])
    if known is not None:
        result = check(found, known, sums(state.graph, state.noise, node.inputs[0]))
        found = found.flipped(result.flips)
        state._doubtful[node.name] = result.doubtful
        step.flips, step.doubtful, step.checksum = int(result.flips.sum()), len(result.doubtful), result.residual
    state._units[node.name] = found
    return from_channel(found.delta * found.slope, delta)


def _seen(activation: Activation, found: Estimate) -> Estimate:
    """A ReLU has no negative outputs: those that are found show the error of their position, if it is above the expected."""
    value = found.value
    if not activation.cuts or value.ndim != 4:
        return found
    below = value.clamp_max(0)
    count = (below < 0).sum(1, keepdim=True)
    error = (below.square().sum(1, keepdim=True) / count.clamp_min(3)).sqrt()
    return Estimate(value=value, deviation=torch.maximum(found.deviation, error))


def _clean(activation: Activation, found: Estimate, slopes: Tensor) -> Estimate:
    """Outputs that agree with the slopes: a ReLU gives zero where it is closed, and something above where it is open."""
    if not activation.cuts:
        return found
    open_, least = from_channel(slopes, found.value) > 0, torch.finfo(found.value.dtype).tiny
    return Estimate(value=torch.where(open_, found.value.clamp_min(least), 0.0), deviation=found.deviation)


def _reads(state: Walk, name: str) -> bool:
    """Whether this is a layer whose weight gradient tells about its input."""
    operation = state.graph.nodes[name].operation
    return isinstance(operation, Layer) and name in state.deltas and operation.weight_name in state.gradient


def _value(state: Walk, node: Node) -> Estimate:
    """The tensor and its deviation."""
    graph = state.graph
    for name in graph.consumers[node.name]:
        if isinstance(graph.nodes[name].operation, Reshape) and name in state.values:
            return state.values[name].reshape(-1, *node.shape)
    readers = [graph.nodes[name] for name in graph.consumers[node.name] if _reads(state, name)]
    if not readers:
        raise _Stop(f"no followed layer with a gradient reads {node.operation.where}")
    owners = {reader.name: owner for reader in readers if (owner := _owner(graph, reader.name)) in state._units}
    ignored = {name: list(state._doubtful.get(owner, ())) for name, owner in owners.items() if owner is not None}
    answer = _solved(state, node, readers, ignored)
    outliers = {name: _outliers(answer.channels[name]) for name in ignored}
    if any(set(outliers[name]) - set(ignored[name]) for name in ignored):
        ignored = {name: sorted({*ignored[name], *outliers[name]}) for name in ignored}
        answer = _solved(state, node, readers, ignored)
    where = readers[0].operation.where
    if state.noise and not answer.null:
        for name, owner in owners.items():
            _reconsider(state, graph.nodes[name], str(owner), answer)
    if answer.residual > max(WRONG_RESIDUAL, WRONG_EXCESS * answer.expected):
        raise _Stop(f"the equations of {where} contradict each other ({answer.residual:.0e})")
    if answer.null:
        if node.name == graph.input and answer.parts:
            layer = readers[0].operation
            assert isinstance(layer, Layer)
            state.remainder = remainder(layer, answer.value, answer.parts)
        raise _Stop(f"the equations of {where} leave {answer.null} of {answer.unknowns} unknowns a channel open")
    for name, channels in ignored.items():
        _look_again(state, graph.nodes[name], str(owners[name]), answer, channels)
    return Estimate(value=answer.value, deviation=answer.deviation)


def _solved(state: Walk, node: Node, readers: list[Node], ignored: Mapping[str, list[int]]) -> Answer:
    pixels = math.prod(state.graph.nodes[state.graph.input].shape)
    held = math.prod(state.graph.nodes[state.frontier].shape) if state.frontier else 0
    enough, closed = held >= ENOUGH * pixels, state.rescaled or held >= PLENTY * pixels
    known = None if closed else Known(graph=state.graph, values=state.values, routes=state.routes)
    missing = lacking(readers, node.shape, len(state.deltas[node.name]))
    if enough and missing > 0:
        raise _Stop(f"the layers that read {node.operation.where} have {missing} equations a channel too few")
    margin = EASY if enough else 1.0
    answer = solve_tensor(state.graph, node, readers, state.deltas, state.gradient, known, ignored, margin, state.noise)
    size = float(answer.value.square().mean().sqrt())
    state.steps[node.name] = Step(
        where=node.operation.where,
        shape=node.shape,
        unknowns=answer.unknowns,
        null=answer.null,
        condition=answer.condition,
        residual=answer.residual,
        error=float(answer.deviation.max()) / max(size, 1e-300),
        iterations=answer.iterations,
        excess=answer.excess,
    )
    return answer


def _outliers(residuals: Tensor) -> list[int]:
    live = residuals[residuals > 0]
    limit = OUTLIER * float(live.median()) if len(live) else 0.0
    return (residuals > limit).nonzero()[:, 0].tolist()


def _look_again(state: Walk, reader: Node, owner: str, answer: Answer, channels: list[int]) -> None:
    """Corrects the slopes behind a reader's doubtful channels.

    Raises:
        _Again: some slopes changed.
        _Stop: a channel's gradient fits no slopes.
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
            scale,
            c,
            typical / float(answer.weights[reader.name][c]),
        )
        if mended is None and state.noise:
            continue
        if mended is None:
            raise _Stop(f"channel {c} of {layer.where} contradicts the others")
        flips[c, mended] = True
    looks = state._looks[owner] = state._looks.get(owner, 0) + 1
    if not bool(flips.any()) or (looks > LOOKS and state.noise):
        return
    if looks > LOOKS:
        raise _Stop(f"{len(wrong)} channels of {layer.where} contradict the others")
    _flip(state, owner, flips)


def _reconsider(state: Walk, reader: Node, owner: str, answer: Answer) -> None:
    """Corrects all slopes behind a reader that its gradient and their values, both noisy, make unlikely together.

    Raises:
        _Again: some slopes changed.
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
    state.values[owner] = _clean(activation.operation, state._raw[owner], found.slope)
    raise _Again(owner)


def _owner(graph: Graph, name: str) -> str | None:
    """The activation whose slopes decide this layer's derivatives, channel by channel; None if there is no single one."""
    consumers = graph.consumers[name]
    if len(consumers) != 1:
        return None
    above = graph.nodes[consumers[0]]
    if isinstance(above.operation, Activation):
        return above.name
    return _owner(graph, above.name) if isinstance(above.operation, (Norm, Sum)) else None
