"""The walk: from known derivatives near the head down to the input, solving each tensor from the layers that read it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from . import routing
from .averages import Average, unread
from .checksum import check, from_channel, sums, units
from .doubts import OUTLIER, Again, Stop, look_again, outliers, owner_of, reconsider
from .forward_known import Estimate, Known, agreeing, seen
from .graph import Activation, Affine, Graph, Layer, MaxPool, Node, Reshape
from .joint import Answer, lacking, solve_tensor
from .noise import NONE, Noise
from .record import ENOUGH, PLENTY, Step, Walk
from .remainder import remainder

SPOILED, SCARCE = 1e-5, 0.3
"""Relative residual above which, or spare equations an unknown below which, channels with wrong slopes may hide."""
LESS, BETTER, ROUNDS = 3.0, 0.2, 12
"""Then channels that exceed the median by so much are left out, or any whose loss lowers the residual to this part, so often."""
WRONG_RESIDUAL, WRONG_EXCESS = 1e-3, 5.0
"""Relative residual of a layer's equations, and in units of what noise explains, above which something over them is wrong."""
DIM = 0.05
"""Expected relative error from which a tensor is not worth the name of known: too many slopes would be wrong."""
EASY = 4.0
"""Known outputs for every open direction that make closing a system cheaper than descent from what is known above."""


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
        except Again as again:
            place = order.index(str(again)) + 1
        except Stop as stop:
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
        value = state._raw[node.name] = seen(operation, _value(state, node))
        state._waiting[node.inputs[0]][node.name] = _sloped(state, node, operation, value, delta)
        state.values[node.name] = agreeing(operation, value, state._units[node.name].slope)
    elif isinstance(operation, Affine):
        if isinstance(operation, (Average, Reshape)) and any(
            _reads(state, name) for name in graph.consumers[node.name]
        ):
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
                raise Stop(found)
            state.routes[node.name] = found
        shape = graph.nodes[node.inputs[0]].shape
        state._waiting[node.inputs[0]][node.name] = operation.pull(delta, state.routes[node.name], shape)
    elif node.inputs:
        raise Stop(f"{operation.where} cannot be followed backward")
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
        raise Stop(unread(graph, node))
    owners = {reader.name: owner for reader in readers if (owner := owner_of(graph, reader.name)) in state._units}
    ignored = {name: list(state._doubtful.get(owner, ())) for name, owner in owners.items() if owner is not None}
    answer, ignored = _agreed(state, node, readers, ignored)
    where = readers[0].operation.where
    if state.noise and not answer.null:
        for name, owner in owners.items():
            reconsider(state, graph.nodes[name], str(owner), answer)
    if answer.residual > max(WRONG_RESIDUAL, WRONG_EXCESS * answer.expected):
        raise Stop(f"the equations of {where} contradict each other ({answer.residual:.0e})")
    if answer.null:
        if node.name == graph.input and answer.parts:
            layer = readers[0].operation
            assert isinstance(layer, Layer)
            state.remainder = remainder(layer, answer.value, answer.parts)
        raise Stop(f"the equations of {where} leave {answer.null} of {answer.unknowns} unknowns a channel open")
    for name, channels in ignored.items():
        look_again(state, graph.nodes[name], str(owners[name]), answer, channels)
    error = float(answer.deviation.square().mean().sqrt() / answer.value.square().mean().sqrt().clamp_min(1e-300))
    if error > DIM and not state.noise:
        raise Stop(f"rounding leaves the equations of {where} an error of {error:.0%}")
    return Estimate(value=answer.value, deviation=answer.deviation)


def _agreed(
    state: Walk, node: Node, readers: list[Node], ignored: dict[str, list[int]]
) -> tuple[Answer, dict[str, list[int]]]:
    """The solution of the channels that agree, and those that were left out.

    Where equations hardly outnumber the unknowns, a channel with wrong slopes spoils all residuals, and stands out less.
    """
    answer = _solved(state, node, readers, ignored)
    scarce = -lacking(readers, node.shape, len(state.deltas[node.name])) < SCARCE * answer.unknowns
    for attempt in range(ROUNDS):
        hiding = (scarce or answer.residual > SPOILED) and not state.noise and not answer.null
        if attempt and not hiding:
            break
        others = {name: outliers(answer.channels[name], LESS if hiding else OUTLIER) for name in ignored}
        if all(set(others[name]) <= set(ignored[name]) for name in ignored):
            spoiled = hiding and answer.residual > SPOILED
            found = _without_worst(state, node, readers, answer, ignored) if spoiled and ignored else None
            if found is None:
                break
            answer, ignored = found
            continue
        fewer = {name: sorted({*ignored[name], *others[name]}) for name in ignored}
        again = _solved(state, node, readers, fewer)
        if again.null and not answer.null:
            break
        answer, ignored = again, fewer
    return answer, ignored


def _without_worst(
    state: Walk, node: Node, readers: list[Node], answer: Answer, ignored: dict[str, list[int]]
) -> tuple[Answer, dict[str, list[int]]] | None:
    """The solution without the channels that stand out most, though little; None if the others do not agree better by far.

    A residual counts for every equation to spare: without any it is none.
    """
    rows = {reader.name: reader.operation.offsets for reader in readers if isinstance(reader.operation, Layer)}
    spare = -lacking(readers, node.shape, len(state.deltas[node.name]))
    spare -= sum(rows[name] * len(channels) for name, channels in ignored.items())
    before = answer.residual**2 / max(spare, 1)
    for _ in range(ROUNDS):
        excess = {name: answer.channels[name] / answer.channels[name].median() for name in ignored}
        for name, channels in ignored.items():
            excess[name][channels] = 0.0
        worst = max(ignored, key=lambda name: float(excess[name].max()))
        ignored = {**ignored, worst: sorted([*ignored[worst], int(excess[worst].argmax())])}
        spare -= rows[worst]
        if spare <= 0 or (answer := _solved(state, node, readers, ignored)).null:
            return None
        if answer.residual**2 / spare < BETTER**2 * before:
            return answer, ignored
    return None


def _solved(state: Walk, node: Node, readers: list[Node], ignored: Mapping[str, list[int]]) -> Answer:
    pixels = math.prod(state.graph.nodes[state.graph.input].shape)
    held = math.prod(state.graph.nodes[state.frontier].shape) if state.frontier else 0
    enough, closed = held >= ENOUGH * pixels, state.rescaled or held >= PLENTY * pixels
    known = None if closed else Known(graph=state.graph, values=state.values, routes=state.routes)
    missing = lacking(readers, node.shape, len(state.deltas[node.name]))
    if enough and missing > 0:
        raise Stop(f"the layers that read {node.operation.where} have {missing} equations a channel too few")
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
