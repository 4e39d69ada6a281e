"""What known values say about tensors below them: inverse activations, minus what is known of the other branches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .checksum import from_channel
from .concat import Concat, part
from .graph import Activation, Graph, Layer, MaxPool, Norm, Reshape, Sum

ROUNDING = 2e-7
"""Error of a float32 client's own activations, relative to their size."""


CERTAIN = 50.0
"""Expected errors above zero from which a unit is active beyond doubt: an inactive one's input would not be its output."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
    """Values and their expected errors, entry by entry; an infinite error marks an entry of which nothing is known."""

    value: Tensor
    deviation: Tensor

    def reshape(self, *shape: int) -> Estimate:
        """Both, reshaped."""
        return Estimate(value=self.value.reshape(*shape), deviation=self.deviation.reshape(*shape))


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """Reads partial values off the tensors that are known in full."""

    graph: Graph
    values: Mapping[str, Estimate]
    routes: Mapping[str, Tensor] = field(default_factory=dict)

    def partial(self, name: str) -> Estimate | None:
        """What follows about this tensor from known tensors above it; None if nothing follows."""
        found: Estimate | None = None
        for consumer in self.graph.consumers[name]:
            part = self._through(consumer, name)
            if part is not None:
                found = part if found is None else _better(found, part)
        return found

    def full(self, name: str) -> Tensor | None:
        """The whole tensor, if it is known or is computed from known ones."""
        if name in self.values:
            return self.values[name].value
        node = self.graph.nodes[name]
        inputs = [self.full(below) for below in node.inputs]
        if not inputs or any(value is None for value in inputs):
            return None
        return node.operation.apply(*inputs)

    def _through(self, consumer: str, name: str) -> Estimate | None:
        node = self.graph.nodes[consumer]
        operation = node.operation
        shape = self.graph.nodes[name].shape
        if isinstance(operation, Activation):
            return _inverted(operation, self.values[consumer]) if consumer in self.values else None
        if not isinstance(operation, (Concat, MaxPool, Norm, Reshape, Sum)):
            return None
        above = self.partial(consumer)
        if above is None or (isinstance(operation, MaxPool) and consumer not in self.routes):
            return None
        if isinstance(operation, MaxPool):
            return _unpooled(above, self.routes[consumer], shape)
        if isinstance(operation, Concat):
            mine = part(self.graph, node, name)
            return Estimate(value=above.value[:, mine], deviation=above.deviation[:, mine])
        if isinstance(operation, Reshape):
            return above.reshape(-1, *shape)
        if isinstance(operation, Norm):
            zero = operation.apply(above.value.new_zeros(1, *shape))
            scale = operation.scale.reshape(-1, *([1] * (len(shape) - 1)))
            return Estimate(value=(above.value - zero) / scale, deviation=above.deviation / scale.abs())
        others = [self.full(other) for other in node.inputs if other != name]
        if node.inputs.count(name) > 1 or any(other is None for other in others):
            return None
        rest = torch.stack([other for other in others if other is not None]).sum(0)
        return Estimate(value=above.value - rest, deviation=above.deviation + ROUNDING * rest.square().mean().sqrt())


def _inverted(activation: Activation, known: Estimate) -> Estimate:
    value = activation.inverse(known.value)
    usable = activation.invertible(known.value)
    if activation.kinked:
        usable &= known.value.abs() > CERTAIN * known.deviation
    deviation = known.deviation / activation.slope(known.value).abs().clamp_min(1e-12)
    floor = ROUNDING * float(value[usable].square().mean().sqrt()) if bool(usable.any()) else 0.0
    return Estimate(value=value, deviation=torch.where(usable, deviation + floor, torch.inf))


def _unpooled(above: Estimate, routes: Tensor, shape: tuple[int, ...]) -> Estimate:
    """Known where a window took its entry from; windows that share a place agree on it."""
    places, value = routes.flatten(2), above.value.new_zeros(len(above.value), shape[0], math.prod(shape[1:]))
    deviation = torch.full_like(value, torch.inf)
    value.scatter_(2, places, above.value.flatten(2))
    deviation.scatter_(2, places, above.deviation.flatten(2))
    return Estimate(value=value.reshape(-1, *shape), deviation=deviation.reshape(-1, *shape))


def _better(first: Estimate, second: Estimate) -> Estimate:
    take = first.deviation <= second.deviation
    return Estimate(
        value=torch.where(take, first.value, second.value),
        deviation=torch.minimum(first.deviation, second.deviation),
    )


def outputs(known: Known, layer: Layer, name: str) -> Estimate | None:
    """The layer's known outputs before its bias."""
    found = known.partial(name)
    if found is None or layer.bias is None:
        return found
    bias = layer.bias if layer.dense else layer.bias.reshape(-1, *([1] * (found.value.ndim - 2)))
    return Estimate(value=found.value - bias, deviation=found.deviation)


def seen(activation: Activation, found: Estimate) -> Estimate:
    """A ReLU has no negative outputs: those that are found show the error of their position, if it is above the expected."""
    value = found.value
    if not activation.cuts or value.ndim != 4:
        return found
    below = value.clamp_max(0)
    count = (below < 0).sum(1, keepdim=True)
    error = (below.square().sum(1, keepdim=True) / count.clamp_min(3)).sqrt()
    return Estimate(value=value, deviation=torch.maximum(found.deviation, error))


def agreeing(activation: Activation, found: Estimate, slopes: Tensor) -> Estimate:
    """Outputs that agree with the slopes: a ReLU gives zero where it is closed, and something above where it is open."""
    if not activation.cuts:
        return found
    open_, least = from_channel(slopes, found.value) > 0, torch.finfo(found.value.dtype).tiny
    full = (activation.slope(found.value.clamp_min(least)) == 0) & ~open_
    closed = torch.where(full, activation.apply(found.value), 0.0)
    return Estimate(value=torch.where(open_, found.value.clamp_min(least), closed), deviation=found.deviation)
