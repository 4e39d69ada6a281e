"""What a walk left to find, and how its unknown tensors follow from pictures: forward to known maps, backward to weight gradients.

The derivatives come down from the known ones as in the backward pass. Where that decides by the values (which entry of a
window is the largest, which unit is active), it decides softly: a window's derivative is shared by softmax(z / t), a slope is
sigmoid(z / t). As t falls to zero, its routes are the client's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn.grad import conv2d_weight

from .forward_known import Known
from .graph import Activation, Affine, Graph, Layer, MaxPool, Node
from .record import Walk
from .soft_pool import REACH, forward, shared

NONE: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True, eq=False)
class Left:
    """What a walk left to find, and what it knows about that.

    Args:
        open: nodes that depend on the input and are not known, in order; `watched`: known ones that read them.
    """

    graph: Graph
    gradient: Mapping[str, Tensor]
    values: Mapping[str, Tensor]
    deltas: Mapping[str, Tensor]
    open: tuple[Node, ...]
    followed: tuple[Node, ...]
    watched: tuple[Node, ...]
    examples: int

    @classmethod
    def of(cls, graph: Graph, walk: Walk) -> Left:
        dtype = graph.dtype
        values = {name: v.value.to(dtype) for name, v in walk.values.items() if bool(v.deviation.isfinite().all())}
        open_, watched = {graph.input}, list[str]()
        for node in graph.nodes.values():
            if any(name in open_ for name in node.inputs):
                if node.name in values:
                    watched.append(node.name)
                else:
                    open_.add(node.name)
        told = Known(graph=walk.graph, values=walk.values)
        beside = {name for node in (*open_, *watched) for name in graph.nodes[node].inputs} - open_ - values.keys()
        values |= {name: full.to(dtype) for name in beside if (full := told.full(name)) is not None}
        return cls(
            graph=graph,
            gradient={name: g.to(dtype) for name, g in walk.gradient.items()},
            values=values,
            deltas={name: d.to(dtype) for name, d in walk.deltas.items()},
            open=tuple(node for node in graph.nodes.values() if node.name in open_),
            followed=tuple(followed(graph, open_)),
            watched=tuple(graph.nodes[name] for name in watched),
            examples=len(next(iter(walk.deltas.values()))),
        )

    @property
    def wanted(self) -> list[Tensor]:
        """The known maps, brought to norm 1."""
        return [self.values[node.name] / self.values[node.name].norm() for node in self.watched]

    def maps(self, x: Tensor) -> tuple[Tensor, ...]:
        """What x [n, ...] gives for them."""
        return self.there(self.forward(x))

    def reads(self, node: Node) -> bool:
        """Whether this layer's derivative is known, and so its equations in the unknown tensor that it reads."""
        return (
            isinstance(node.operation, Layer)
            and node.name in self.deltas
            and layer_of(node).weight_name in self.gradient
        )

    def size(self, node: Node) -> Tensor:
        """Norm of a layer's weight gradient."""
        return self.gradient[layer_of(node).weight_name].norm().clamp_min(1e-15)

    def objective(self, softness: float) -> Callable[[Tensor, Tensor], Tensor]:
        """For `descend`, of the whole batch as one problem."""
        return lambda points, _: torch.stack([self._residual(x, softness) for x in points])

    def forward(self, x: Tensor, soft: Mapping[str, float] = NONE) -> dict[str, Tensor]:
        """The open tensors that x causes, beside the known ones; `soft` as of `soft_pool.forward`."""
        return forward(self.open, {**self.values, self.graph.input: x}, soft)

    def there(self, values: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """The watched maps that these tensors cause, in the units of `wanted`."""
        there = (node.operation.apply(*(values[name] for name in node.inputs)) for node in self.watched)
        return tuple(value / self.values[node.name].norm() for node, value in zip(self.watched, there))

    def _residual(self, x: Tensor, softness: float) -> Tensor:
        values = self.forward(x)
        terms = [(there - wanted).square().sum() for there, wanted in zip(self.there(values), self.wanted)]
        deltas: dict[str, Tensor] = {}
        for node in self.followed:
            delta = self.deltas.get(node.name, deltas.get(node.name))
            if delta is None:
                continue
            operation = node.operation
            if isinstance(operation, Layer) and operation.weight_name in self.gradient and node.inputs[0] in values:
                wanted = self.gradient[operation.weight_name]
                error = weight_gradient(operation, values[node.inputs[0]], delta) - wanted
                terms.append(error.square().sum() / wanted.square().sum().clamp_min(1e-30))
            for name, pulled in zip(node.inputs, _pulled(self.graph, node, values, delta, softness)):
                if name not in self.deltas:
                    deltas[name] = deltas[name] + pulled if name in deltas else pulled
        return torch.stack(terms).sum()


def followed(graph: Graph, names: set[str]) -> list[Node]:
    """Open nodes through which derivatives are followed, from the top to the convolutions in front of the last pooling."""
    nodes = [node for node in graph.nodes.values() if node.name in names]
    last = next((i for i, node in enumerate(nodes) if isinstance(node.operation, MaxPool)), len(nodes))
    feeding = [i for i, node in enumerate(nodes[:last]) if isinstance(node.operation, Layer)]
    return nodes[feeding[-1] if feeding else 0 :][::-1]


def layer_of(node: Node) -> Layer:
    """The layer of its node."""
    assert isinstance(node.operation, Layer)
    return node.operation


def weight_gradient(layer: Layer, value: Tensor, delta: Tensor) -> Tensor:
    """Of a layer with this input [n, ...] and these derivatives by its output."""
    if layer.dense:
        return delta.flatten(0, -2).T @ value.flatten(0, -2)
    return conv2d_weight(value, layer.weight.shape, delta, layer.stride, layer.padding, layer.dilation, layer.groups)


def _pulled(
    graph: Graph, node: Node, values: Mapping[str, Tensor], delta: Tensor, softness: float
) -> tuple[Tensor, ...]:
    """Derivatives by the node's inputs."""
    operation = node.operation
    if isinstance(operation, Affine):
        return operation.pull(delta, graph.shapes(node))
    if not isinstance(operation, (Activation, MaxPool)):
        return ()
    z = values[node.inputs[0]]
    t = softness * z.detach().std()
    if isinstance(operation, Activation):
        if not operation.kinked:
            return (delta * operation.slope(values[node.name]),)
        low, high = (operation.slope(z.new_tensor(sign)) for sign in (-1.0, 1.0))
        return (delta * (low + (high - low) * torch.sigmoid((z / t).clamp(-REACH, REACH))),)
    return (shared(operation, delta, z, t),)
