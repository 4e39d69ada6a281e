"""One tensor from all that is known about it: weight gradients of the layers that read it, and their known outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .closing import Reading, close
from .components import components
from .equations import from_channels, matrix, positions, right_side, to_channels
from .forward_known import Known, outputs
from .graph import Graph, Layer, Node
from .least_squares import FLOAT32, Directions, directions, solve
from .noise import NONE, Noise, row_variance


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A tensor with its expected error and the state of its equations.

    Args:
        expected: relative residual that noise in the gradient explains.
        channels: weighted residuals of every reader's output channels; weights: what they were multiplied by.
        parts: what the equations determine, one a group, where that is not everything and known outputs took no part.
    """

    value: Tensor
    deviation: Tensor
    unknowns: int
    null: int
    condition: float
    residual: float
    expected: float
    iterations: int
    excess: float
    channels: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]
    parts: Sequence[Directions] = ()


def solve_tensor(
    graph: Graph,
    node: Node,
    readers: Sequence[Node],
    deltas: Mapping[str, Tensor],
    gradient: Mapping[str, Tensor],
    known: Known | None,
    ignored: Mapping[str, Sequence[int]],
    margin: float = 1.0,
    noise: Noise = NONE,
) -> Answer:
    """Weight-gradient equations first; where they leave directions open, known outputs of the readers close them.

    Args:
        known: what is known above the tensor; None to leave open what the weight gradients leave open.
        ignored: output channels of a reader whose equations are left out, by reader.
        margin: known outputs must outnumber the open directions by this factor to be used.
        noise: in the gradient.
    """
    layers = [_layer(reader) for reader in readers]
    layouts = {(layer.groups, layer.stride if layer.patchwise else ()) for layer in layers}
    if len(layouts) > 1:
        layers, readers = layers[:1], readers[:1]
    blocks = [
        Block.of(_layer(r), deltas[r.name], node.shape, gradient, ignored.get(r.name, ()), noise) for r in readers
    ]
    pieces = components(layers, node.shape, len(deltas[readers[0].name]))
    systems = [
        _system(blocks, pieces.rows(part, layers), columns, group)
        for group in range(layers[0].groups)
        for part, columns in enumerate(pieces.columns)
    ]
    error = 1.0 if noise else None
    solutions = [solve(*system, error=error) for system in systems]
    expected = max(error / max(float(right.square().mean().sqrt()), 1e-300) for _, right in systems) if error else 0.0
    value = from_channels(layers[0], pieces.merge(torch.stack([s.x for s in solutions])), node.shape)
    deviation = from_channels(layers[0], pieces.merge(torch.stack([s.deviation for s in solutions])), node.shape)
    nulls = torch.tensor([s.null for s in solutions]).reshape(layers[0].groups, -1)
    null, iterations, excess = int(nulls.sum(1).max()), 0, 1.0
    parts = [s.directions for s in solutions if s.directions is not None and len(pieces.columns) == 1]
    readings = _readings(node, readers, known) if null and known is not None else []
    told = sum(int(r.output.deviation.isfinite().sum()) for r in readings)
    if readings and told >= margin * int(nulls.sum()) * solutions[0].x.shape[1]:
        parts = []
        closable = [s.directions or directions(*system, error=error) for s, system in zip(solutions, systems)]
        generator = None if node.name == graph.input else torch.Generator().manual_seed(0)
        closed = close(layers[0], node.shape, pieces, closable, readings, generator=generator)
        value, deviation, iterations, excess = closed.value, closed.deviation, closed.iterations, closed.excess
        null = closed.null
    return Answer(
        channels={r.name: b.residuals(to_channels(_layer(r), value)) for r, b in zip(readers, blocks)},
        weights={r.name: b.weight for r, b in zip(readers, blocks)},
        parts=parts if null and len(parts) == layers[0].groups else (),
        value=value,
        deviation=deviation,
        unknowns=pieces.columns.numel(),
        null=null,
        condition=max(s.condition for s in solutions),
        residual=max(s.residual for s in solutions),
        expected=expected,
        iterations=iterations,
        excess=excess,
    )


def _system(blocks: Sequence[Block], rows: Sequence[Tensor], columns: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """Matrix and right side of one part of one group's equations."""
    used = [(b, b.kept[group] & mine) for b, mine in zip(blocks, rows)]
    design = torch.cat([b.design[group][mine] for b, mine in used])
    return design[:, columns], torch.cat([b.right[group][mine] for b, mine in used])


def lacking(readers: Sequence[Node], shape: tuple[int, ...], examples: int) -> int:
    """How many weight-gradient equations a channel are missing, at least, to determine the tensor that they read."""
    layers = [_layer(reader) for reader in readers]
    rows = sum(layer.weight.shape[0] // layer.groups * layer.offsets for layer in layers)
    return examples * positions(layers[0], shape) - rows


def _readings(node: Node, readers: Sequence[Node], known: Known) -> list[Reading]:
    found = [(layer, outputs(known, layer, r.name)) for r in readers for layer in [_layer(r)]]
    result = [Reading(layer, estimate) for layer, estimate in found if estimate is not None]
    itself = known.partial(node.name)
    return result if itself is None else [*result, Reading(None, itself)]


def _layer(node: Node) -> Layer:
    assert isinstance(node.operation, Layer)
    return node.operation


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """A reader's equations, rows divided by the size of their output channel's delta, or by their expected error.

    The errors of a float32 client, or of noise, are then alike in all rows. `weight` [out] undoes it; `kept` marks the rows to be used.
    """

    design: Tensor
    right: Tensor
    weight: Tensor
    kept: Tensor

    @classmethod
    def of(
        cls,
        layer: Layer,
        delta: Tensor,
        shape: tuple[int, ...],
        gradient: Mapping[str, Tensor],
        ignored: Sequence[int],
        noise: Noise = NONE,
    ) -> Block:
        design, right = matrix(layer, delta, shape), right_side(layer, gradient[layer.weight_name])
        groups, rows, _ = design.shape
        kernel = layer.offsets
        size = design.reshape(groups, rows // kernel, -1).norm(dim=2)
        weight = 1 / torch.sqrt(size.square() + 0.01 * size.square().mean()).clamp_min(1e-300)
        if noise:
            rounding = FLOAT32 * (right * weight.repeat_interleave(kernel, dim=1)[..., None]).square().mean().sqrt()
            variance = row_variance(noise, layer).reshape(weight.shape)
            weight = 1 / torch.sqrt((rounding / weight).square() + variance)
        each = weight.repeat_interleave(kernel, dim=1)[..., None]
        kept = torch.ones(weight.numel(), dtype=torch.bool)
        kept[list(ignored)] = False
        return cls(
            design=design * each,
            right=right * each,
            weight=weight.flatten(),
            kept=kept.reshape(weight.shape).repeat_interleave(kernel, dim=1),
        )

    def residuals(self, solution: Tensor) -> Tensor:
        """Root mean square residual of every output channel's equations, weighted [out]."""
        rest = (self.right - self.design @ solution).square().mean(2)
        return rest.reshape(len(self.weight), -1).mean(1).sqrt()
