"""One tensor from all that is known about it: weight gradients of the layers that read it, and their known outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .closing import Reading, close
from .equations import from_channels, matrix, right_side
from .forward_known import Known, outputs
from .graph import Graph, Layer, Node
from .least_squares import solve


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A tensor with its expected error and the state of its equations."""

    value: Tensor
    deviation: Tensor
    unknowns: int
    null: int
    condition: float
    residual: float
    iterations: int
    excess: float


def solve_tensor(
    graph: Graph,
    node: Node,
    readers: Sequence[Node],
    deltas: Mapping[str, Tensor],
    gradient: Mapping[str, Tensor],
    known: Known,
) -> Answer:
    """Weight-gradient equations first; where they leave directions open, known outputs of the readers close them."""
    layers = [_layer(reader) for reader in readers]
    groups = {layer.groups for layer in layers}
    if len(groups) > 1:
        layers, readers = layers[:1], readers[:1]
    blocks = [
        _weighted(matrix(layer, deltas[reader.name], node.shape), right_side(layer, gradient[layer.weight_name]), layer)
        for layer, reader in zip(layers, readers)
    ]
    solutions = [
        solve(torch.cat([m[g] for m, _ in blocks]), torch.cat([r[g] for _, r in blocks]))
        for g in range(layers[0].groups)
    ]
    value = from_channels(layers[0], torch.stack([s.x for s in solutions]), node.shape)
    deviation = from_channels(
        layers[0], torch.stack([s.deviation[:, None].expand_as(s.x) for s in solutions]), node.shape
    )
    null, iterations, excess = max(s.null for s in solutions), 0, 1.0
    readings = _readings(node, readers, known) if null else []
    if readings:
        generator = None if node.name == graph.input else torch.Generator().manual_seed(0)
        closed = close(layers[0], node.shape, solutions, readings, generator=generator)
        value, deviation, iterations, excess = closed.value, closed.deviation, closed.iterations, closed.excess
        null = closed.null
    return Answer(
        value=value,
        deviation=deviation,
        unknowns=len(solutions[0].deviation),
        null=null,
        condition=max(s.condition for s in solutions),
        residual=max(s.residual for s in solutions),
        iterations=iterations,
        excess=excess,
    )


def _readings(node: Node, readers: Sequence[Node], known: Known) -> list[Reading]:
    found = [(layer, outputs(known, layer, r.name)) for r in readers for layer in [_layer(r)]]
    result = [Reading(layer, estimate) for layer, estimate in found if estimate is not None]
    itself = known.partial(node.name)
    return result if itself is None else [*result, Reading(None, itself)]


def _layer(node: Node) -> Layer:
    assert isinstance(node.operation, Layer)
    return node.operation


def _weighted(design: Tensor, right: Tensor, layer: Layer) -> tuple[Tensor, Tensor]:
    """Rows divided by the size of their output channel's delta, so that a float32 client's errors are alike in all."""
    groups, rows, _ = design.shape
    kernel = layer.weight[0, 0].numel()
    size = design.reshape(groups, rows // kernel, -1).norm(dim=2)
    weight = 1 / torch.sqrt(size.square() + 0.01 * size.square().mean()).clamp_min(1e-300)
    weight = weight.repeat_interleave(kernel, dim=1)[..., None]
    return design * weight, right * weight
