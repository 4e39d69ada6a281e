"""The layers that read a tensor, with the normalizations behind them and what a walk knows about these."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from .forward_known import Known
from .graph import Layer, Node
from .own_norm import OwnNorm
from .train_record import Stop, TrainWalk
from .train_solve import Reader

Pair = tuple[Node, Node | None]
"""A layer, and the normalization by its own statistics behind it."""


def readers_of(state: TrainWalk, node: Node) -> list[Pair]:
    """Layers that read the tensor, each with the normalization behind it."""
    graph, found = state.graph, list[Pair]()
    for name in graph.consumers[node.name]:
        layer = graph.nodes[name]
        if isinstance(layer.operation, Layer):
            above = [graph.nodes[c] for c in graph.consumers[name]]
            norm = above[0] if len(above) == 1 and isinstance(above[0].operation, OwnNorm) else None
            if (norm is None and name not in state.deltas) or layer.operation.groups > 1:
                raise Stop(f"{layer.operation.where} is not followed: no normalization of its own behind it")
            if layer.operation.weight_name not in state.gradient:
                raise Stop(f"the update holds no gradient of {layer.operation.where}")
            found.append((layer, norm))
    return found


def reader(state: TrainWalk, layer: Node, norm: Node | None) -> Reader:
    """Its equations, with what the walk knows above."""
    assert isinstance(layer.operation, Layer)
    behind = layer if norm is None else norm
    own = norm.operation if norm is not None and isinstance(norm.operation, OwnNorm) else None
    sums = None if own is None or own.alone else state.gradient.get(layer.operation.bias_name or "")
    return Reader(
        layer=layer.operation,
        norm=own,
        derivatives=state.deltas[behind.name],
        gradient=state.gradient[layer.operation.weight_name],
        sums=sums,
        ignored=state.doubtful.get(behind.name, ()),
    )


def knowing(state: TrainWalk, layer: Node, norm: Node | None) -> Reader:
    """With what is known of the normalization's output, for one that takes examples apart."""
    found = reader(state, layer, norm)
    if norm is None or found.norm is None or found.norm.batch:
        return found
    return replace(found, output=Known(graph=state.graph, values=state.values).partial(norm.name))


def pulled(value: Tensor, by: Reader) -> Tensor:
    """Derivatives by the input of a layer, given those behind its normalization."""
    return by.layer.pull(by.delta(value), [tuple(value.shape[1:])])[0]
