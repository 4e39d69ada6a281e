"""The walk: from known derivatives near the head down to the input, solving each tensor from the layers that read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .checksum import BORDER, Repair, checked, sums
from .forward_known import Estimate, Known
from .graph import Activation, Affine, Graph, Layer, Node, Reshape
from .joint import solve_tensor

WRONG_RESIDUAL = 1e-3
"""Relative residual of a layer's equations above which something over them must be wrong."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What was found about one tensor.

    Args:
        where: the module whose output it is.
        unknowns, null: positions times examples a channel, and how many of these directions stayed open.
        condition, residual: of the equations.
        error: expected error of the values relative to their size.
        iterations, excess: of the solve that closed open directions: its length, and its residual in units of what
            was expected.
        flips, unresolved: of the checksum's repair.
        checksum: largest relative disagreement of the checksums.
    """

    where: str
    shape: tuple[int, ...]
    unknowns: int
    null: int
    condition: float
    residual: float
    error: float
    iterations: int = 0
    excess: float = 1.0
    flips: int = 0
    unresolved: int = 0
    checksum: float = 0.0


@dataclass(kw_only=True, eq=False)
class Walk:
    """Everything found.

    Args:
        values: tensors known exactly, by node.
        deltas: derivatives of the loss by them, an example a row (they carry the client's 1 / batch size).
        steps: in the order of the walk.
        stopped: why the walk ended above the input; empty if it got there.
    """

    graph: Graph
    gradient: Mapping[str, Tensor]
    values: dict[str, Estimate] = field(default_factory=dict)
    deltas: dict[str, Tensor] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    stopped: str = ""

    @property
    def frontier(self) -> str | None:
        """The known tensor nearest to the input."""
        return next((name for name in self.graph.nodes if name in self.values), None)


def walk(graph: Graph, gradient: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> Walk:
    """Walks down as far as the equations determine every tensor.

    Args:
        gradient: of the mean loss by parameter name, in the graph's dtype.
        start: derivatives by some tensors [n, ...] below which everything is to be found.
    """
    state = Walk(graph=graph, gradient=gradient)
    waiting: dict[str, dict[str, Tensor]] = {name: {} for name in graph.nodes}
    for node in reversed(list(graph.nodes.values())):
        delta = start.get(node.name)
        if delta is None:
            arrived = waiting[node.name]
            if not arrived or set(arrived) != set(graph.consumers[node.name]):
                continue
            delta = torch.stack(list(arrived.values())).sum(0)
        state.deltas[node.name] = delta
        reason = _visit(state, node, delta, waiting)
        if reason and not state.stopped:
            state.stopped = reason
    if not state.stopped and graph.input not in state.values:
        state.stopped = "a branch of the network does not come from the layers that were followed"
    return state


def _visit(state: Walk, node: Node, delta: Tensor, waiting: dict[str, dict[str, Tensor]]) -> str:
    """Solves the node's value where it can be, and hands its delta to the node's inputs. Returns a reason to stop."""
    graph, operation = state.graph, node.operation
    wanted = isinstance(operation, (Activation, Reshape)) or node.name == graph.input
    found, reason = _value(state, node) if wanted else (None, "")
    if found is not None:
        state.values[node.name] = found
    if isinstance(operation, Activation):
        if found is None:
            return reason
        value, deviation = found.value, found.deviation
        (below,) = node.inputs
        repair = checked(
            operation,
            value,
            deviation,
            delta,
            sums(graph, state.gradient, below),
            dense=value.ndim == 2 or value.ndim == 3,
        )
        _note(state, repair)
        if repair.unresolved:
            return f"{repair.unresolved} channels of {operation.where} contradict the bias gradient"
        if operation.kinked:
            state.values[node.name] = Estimate(value=_clean(operation, value, deviation), deviation=deviation)
        waiting[below][node.name] = repair.delta
    elif isinstance(operation, Affine):
        for name, pulled in zip(node.inputs, operation.pull(delta, graph.shapes(node))):
            waiting[name][node.name] = waiting[name].get(node.name, 0) + pulled
    elif node.inputs:
        return f"{operation.where} cannot be followed backward"
    return reason if node.name == graph.input else ""


def _value(state: Walk, node: Node) -> tuple[Estimate | None, str]:
    """The tensor and its deviation, or the reason why they are open."""
    graph = state.graph
    for name in graph.consumers[node.name]:
        if isinstance(graph.nodes[name].operation, Reshape) and name in state.values:
            return state.values[name].reshape(-1, *node.shape), ""
    readers = [
        graph.nodes[name]
        for name in graph.consumers[node.name]
        if isinstance(graph.nodes[name].operation, Layer) and name in state.deltas
    ]
    readers = [r for r in readers if r.operation.weight_name in state.gradient]  # type: ignore[attr-defined]
    if not readers:
        return None, f"no followed layer with a gradient reads {node.operation.where}"
    known = Known(graph=graph, values=state.values)
    answer = solve_tensor(graph, node, readers, state.deltas, state.gradient, known)
    size = float(answer.value.square().mean().sqrt())
    state.steps.append(
        Step(
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
    )
    if answer.residual > WRONG_RESIDUAL:
        return None, f"the equations of {readers[0].operation.where} contradict each other ({answer.residual:.0e})"
    if answer.null:
        return None, f"the equations of {readers[0].operation.where} leave {answer.null} of {answer.unknowns} open"
    return Estimate(value=answer.value, deviation=answer.deviation), ""


def _clean(activation: Activation, value: Tensor, deviation: Tensor) -> Tensor:
    """Outputs of a ReLU are not negative, and those below their error are taken for its zeros."""
    low = float(activation.slope(torch.tensor([-1.0], dtype=value.dtype)))
    return torch.where(value > BORDER * deviation, value, 0.0) if low == 0 else value


def _note(state: Walk, repair: Repair) -> None:
    if state.steps:
        last = state.steps[-1]
        state.steps[-1] = Step(
            **{
                **{name: getattr(last, name) for name in Step.__dataclass_fields__},
                "flips": repair.flips,
                "unresolved": repair.unresolved,
                "checksum": repair.residual,
            }
        )
