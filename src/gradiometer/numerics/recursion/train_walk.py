"""The walk under normalization by its own statistics: from the head through the maps that were read, and down as far as equations go.

Below the maps every tensor follows from the layers that read it (`train_solve`), up to a factor that the gradient of
the beta below fixes, and up to what a convolution with stride and the BatchNorm behind it hide (`train_hidden`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from .checksum import BORDER, by_channel, check, from_channel, units
from .equations import positions
from .forward_known import Estimate, Known, agreeing, seen
from .graph import Activation, Affine, Graph, Layer, Node, Reshape, Sum
from .joint import lacking
from .least_squares import TRUST
from .newton import Fit
from .own_norm import OwnNorm
from .record import ENOUGH, Step
from .train_doubts import corrected
from .train_hidden import noise, unhidden
from .train_norm import shift_sums
from .train_readers import Pair, knowing, pulled, reader, readers_of
from .train_record import Stop, TrainWalk
from .train_scale import common_scale
from .train_solve import Reader, deviation, first, refine
from .train_top import TrainTop

ROUNDING = 1e-6
"""Relative error that a float32 client's own activations have."""
NEAR = 1e-3
"""Relative residual at which a tensor is near enough to tell the factor that BatchNorm hides."""
WRONG_RESIDUAL = 0.1
"""Relative residual of a layer's equations above which something over them must be wrong."""
SLACK = 0.5
"""Known outputs are used from so many spare equations a unknown downward: they help little above, and slow the solves."""
LOOKS = 4
"""How often a tensor is solved, slopes above it being corrected in between."""
LONG = 400
"""Products of a linear solve that uses them."""


def train_walk(graph: Graph, gradient: Mapping[str, Tensor], top: TrainTop) -> TrainWalk:
    """Walks down.

    Args:
        graph: in train mode.
        gradient: of the mean loss by parameter name, in the graph's dtype.
    """
    state = TrainWalk(graph=graph, gradient=gradient)
    error = max(ROUNDING, top.error / float(top.value.square().mean().sqrt()))
    state.values[top.name] = _estimate(top.value, error)
    for node in graph.needed(graph.output, top.name):
        if isinstance(node.operation, Activation):
            state.values[node.name] = _estimate(graph.forward(top.value, node.name, start=top.name), error)
    state.deltas[graph.output] = top.residues
    for name in list(graph.nodes)[::-1]:
        try:
            _visit(state, graph.nodes[name])
        except Stop as stop:
            state.stopped = str(stop)
            break
        except torch.linalg.LinAlgError:
            state.stopped = f"the equations of what reads {graph.nodes[name].operation.where} are singular"
            break
    return state


def _visit(state: TrainWalk, node: Node) -> None:
    graph, operation = state.graph, node.operation
    if isinstance(operation, Activation) or not node.inputs:
        readers = readers_of(state, node)
        if node.name not in state.values:
            _find(state, node, readers)
        _gather(state, node, readers)
        if node.inputs:
            assert isinstance(operation, Activation)
            _open(state, node, operation)
    elif isinstance(operation, Affine):
        if isinstance(operation, Reshape) and (readers := readers_of(state, node)):
            if node.name not in state.values:
                _find(state, node, readers)
            _gather(state, node, readers)
        if node.name not in state.deltas:  # a layer's, behind which a normalization stands: found with what it reads
            return
        state.passed.add(node.name)
        for name, delta in zip(node.inputs, operation.pull(state.deltas[node.name], graph.shapes(node))):
            state.add(name, delta)
            if isinstance(operation, Sum):
                state.doubtful[name] = state.doubtful.get(node.name, ())
    elif not isinstance(operation, OwnNorm) or not isinstance(graph.nodes[node.inputs[0]].operation, Layer):
        raise Stop(f"{operation.where} cannot be followed backward")


def _find(state: TrainWalk, node: Node, pairs: list[Pair]) -> None:
    """The tensor from one that holds the same numbers, or from the layers that read it."""
    for name in state.graph.consumers[node.name]:
        if isinstance(state.graph.nodes[name].operation, Reshape) and name in state.values:
            state.values[node.name] = state.values[name].reshape(-1, *node.shape)
            if not node.inputs:
                _, state.scale = common_scale(state.graph, state.gradient, state.values[node.name].value)
            return
    _solve(state, node, pairs)


def _solve(state: TrainWalk, node: Node, pairs: list[Pair]) -> None:
    graph = state.graph
    if not pairs:
        raise Stop(f"no followed layer with a gradient reads {node.operation.where}")
    where = pairs[0][0].operation.where
    examples = len(state.deltas[graph.output])
    readers = [reader(state, *pair) for pair in pairs]
    unknowns = examples * positions(readers[0].layer, node.shape)
    missing = lacking([layer for layer, _ in pairs], node.shape, examples)
    enough = max(math.prod(graph.nodes[name].shape) for name in state.values) >= ENOUGH * _pixels(graph)
    if missing > -SLACK * unknowns:
        readers = [knowing(state, *pair) for pair in pairs]
        if enough and node.inputs and not any(r.norm is not None and r.norm.batch for r in readers):
            raise Stop(f"{where} has hardly more equations than unknowns, and enough is known above it")
    told = sum(int(r.output.deviation.isfinite().sum()) for r in readers if r.output is not None)
    if missing > 0 and told < missing * examples * math.prod(node.shape) / unknowns:
        raise Stop(f"{where} has {missing} equations a channel too few")
    itself = Known(graph=graph, values=state.values).partial(node.name)
    alone = [replace(r, output=None) for r in readers]
    near = refine(alone, first(readers, node.shape), None, enough=NEAR, damping=1e-1)
    value, _ = _settled(state, node, readers, near, itself)
    for _ in range(LOOKS):
        found = refine(readers, value, itself, enough=0.0, damping=1e-6, products=LONG if told else 60)
        residual = _relative(found, readers)
        if residual > WRONG_RESIDUAL:
            raise Stop(f"the equations of {where} contradict each other ({residual:.0e})")
        if not corrected(state, pairs, found.x):
            break
        readers, value = [replace(reader(state, *p), output=r.output) for p, r in zip(pairs, readers)], found.x
    value, error = _settled(state, node, readers, found, itself)
    worst = float(error[error.isfinite()].max() / value.square().mean().sqrt())
    if worst > TRUST:
        raise Stop(f"the equations of {where} hardly determine what it reads (expected error {worst:.0e})")
    state.values[node.name] = Estimate(value=value, deviation=error)
    state.steps[node.name] = Step(
        where=node.operation.where,
        shape=node.shape,
        unknowns=unknowns,
        residual=residual,
        error=worst,
        iterations=near.products + found.products,
    )


def _pixels(graph: Graph) -> int:
    return math.prod(graph.nodes[graph.input].shape)


def _settled(
    state: TrainWalk, node: Node, readers: list[Reader], found: Fit, itself: Estimate | None
) -> tuple[Tensor, Tensor]:
    """The tensor with what BatchNorm hides put right, and its expected error."""
    residual = _relative(found, readers)
    error = deviation(readers, found.x, residual).expand_as(found.x)
    error = error.clamp_min(max(2 * ROUNDING, 2 * residual) * float(found.x.square().mean().sqrt()))
    hidden = all(r.norm is not None and r.sums is None for r in readers)
    if not node.inputs:
        scale, vague = common_scale(state.graph, state.gradient, found.x)
        state.scale = vague
        return scale * found.x, scale * error
    value, guessed = found.x, torch.zeros_like(found.x, dtype=torch.bool)
    if all(r.norm is not None and r.norm.batch for r in readers):
        value, guessed = unhidden(found.x, [r.layer for r in readers], error)
    if isinstance(node.operation, Activation) and node.operation.cuts:
        error = error * noise(torch.where(guessed, 0.0, value / error))
        error = seen(node.operation, Estimate(value=torch.where(guessed, 0.0, value), deviation=error)).deviation
    error = error.clamp_min(ROUNDING * float(value.square().mean().sqrt()))
    factor = 1.0
    sums = shift_sums(state.graph, state.gradient, node.inputs[0])
    if hidden and itself is not None:
        told = itself.deviation.isfinite()
        factor = float((value * itself.value)[told].sum() / value[told].square().sum())
    elif hidden and sums is not None:
        delta = torch.stack([pulled(value, r) for r in readers]).sum(0)
        large = sums.abs() > sums.abs().median()
        factor = float(((by_channel(value > BORDER * error) * by_channel(delta)).sum(1) / sums)[large].median())
    return factor * value, torch.where(guessed, torch.inf, factor * error)


def _relative(found: Fit, readers: list[Reader]) -> float:
    """Residual of an output channel's equations."""
    return found.residual / sum(len(r.gradient) for r in readers) ** 0.5


def _gather(state: TrainWalk, node: Node, pairs: list[Pair]) -> None:
    for layer, norm in pairs:
        if norm is not None:
            state.add(node.name, pulled(state.values[node.name].value, reader(state, layer, norm)))


def _open(state: TrainWalk, node: Node, operation: Activation) -> None:
    """Derivatives by the activation's input, its slopes being checked by the gradient of the beta below."""
    estimate, delta = state.values[node.name], state.deltas[node.name]
    known = estimate.deviation.isfinite()
    error = estimate.deviation
    # Of a class with guessed offset the smallest unit alone may be closed, which the checksum tells.
    if not known.all():
        smallest = torch.where(known, torch.inf, estimate.value).amin((0, 2, 3), keepdim=True)
        error = torch.where(known, error, smallest / (1.01 * BORDER))
    found = units(operation, estimate.value, error, delta)
    sums = shift_sums(state.graph, state.gradient, node.inputs[0])
    step = state.steps.setdefault(node.name, Step(where=operation.where, shape=node.shape))
    if sums is not None:
        result = check(found, sums)
        found = found.flipped(result.flips)
        state.doubtful[node.inputs[0]] = result.doubtful
        step.flips, step.doubtful, step.checksum = int(result.flips.sum()), len(result.doubtful), result.residual
    state.units[node.name], state.raw[node.name] = found, estimate
    state.values[node.name] = agreeing(operation, estimate, found.slope)
    state.add(node.inputs[0], delta * from_channel(found.slope, delta))


def _estimate(value: Tensor, error: float) -> Estimate:
    return Estimate(value=value, deviation=(error * value.square().mean().sqrt()).expand_as(value))
