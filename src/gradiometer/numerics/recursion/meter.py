"""The meter: what a gradient determines, layer by layer, by counting equations and reading spectra; no system is solved.

The count is generic: dead units, dependent positions and noise can only take away from it, known outputs of an
activation add to it. "exact" is therefore a prediction, which an attack has to keep.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .consistency import followed
from .equations import positions
from .graph import Activation, Graph, Layer, MaxPool, Node, Opaque, Reshape
from .joint import lacking
from .record import ENOUGH
from .routing import readable
from .shift import Spectrum, spectrum
from .top import branches

Verdict = Literal["exact", "partial", "not"]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One tensor and the layers that read it.

    Args:
        where: the first of these layers; shape: of the tensor, one example.
        unknowns: examples x positions a channel; missing: weight-gradient equations a channel that lack (0: none).
        closed: whether known outputs of the layers make up for them, by count.
        rank, gap: of the layer's own gradient, where it has shift structure and enough channels; else 0.
    """

    where: str
    shape: tuple[int, ...]
    unknowns: int
    missing: int
    closed: bool
    rank: int = 0
    gap: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Meter:
    """The prediction.

    Args:
        verdict: `exact` (the pictures follow), `partial` (tensors of the upper layers do), `not` (nothing does).
        reason: where it ends, and why.
        examples: the batch size that was counted with, read off the spectrum where it was not given; 0: unknown.
        layers: from the head to the input.
    """

    verdict: Verdict
    reason: str
    examples: int
    layers: tuple[Reading, ...]


def meter(graph: Graph, gradient: Mapping[str, Tensor], *, examples: int | None = None) -> Meter:
    """Reads a gradient.

    Args:
        examples: the batch size, where it is known.
    """
    spectra = _spectra(graph, gradient)
    seen = next((s.examples for s in spectra.values() if s.examples and not s.full), 0)
    count = examples or seen or 1
    readings: list[Reading] = []
    held, reason = 0, ""
    wanted = ENOUGH * math.prod(graph.nodes[graph.input].shape)
    for node in reversed(list(graph.nodes.values())):
        if isinstance(node.operation, Opaque):
            reason = reason or f"{node.operation.where} cannot be followed backward"
        if isinstance(node.operation, MaxPool) and not reason and not readable(graph, node, count):
            reason = f"the places that {node.operation.where} takes show in the pictures alone"
            held = wanted if held + _below(graph, node) >= wanted else held
        readers = _readers(graph, node)
        if not readers or not (isinstance(node.operation, (Activation, Reshape)) or node.name == graph.input):
            continue
        reading = _count(graph, node, readers, count, spectra)
        readings.append(reading)
        if reading.missing and not (reading.closed and held < wanted):
            reason = reason or f"{reading.where} has {reading.missing} equations a channel too few"
        if not reason:
            held = wanted if node.name == graph.input else math.prod(node.shape)
    verdict: Verdict = "exact" if held >= wanted else "partial" if held else "not"
    return Meter(verdict=verdict, reason=reason, examples=examples or seen, layers=tuple(readings))


def _below(graph: Graph, pool: Node) -> int:
    """How many weight-gradient entries a descent through this pooling has to agree with."""
    names = {graph.input, *(node.name for node in graph.needed(pool.name, graph.input))}
    layers = (node.operation for node in followed(graph, names))
    return sum(layer.weight.numel() for layer in layers if isinstance(layer, Layer))


def _readers(graph: Graph, node: Node) -> list[Node]:
    return [n for name in graph.consumers[node.name] if isinstance((n := graph.nodes[name]).operation, Layer)]


def _spectra(graph: Graph, gradient: Mapping[str, Tensor]) -> dict[str, Spectrum]:
    """Of the layers whose delta could be read off their own gradient, the head's side first."""
    found: dict[str, Spectrum] = {}
    for node in reversed(graph.layers()):
        layer = node.operation
        assert isinstance(layer, Layer)
        area = math.prod(node.shape[1:])
        if layer.shifts() and layer.weight_name in gradient and area <= min(layer.weight.shape[:2]):
            above = graph.consumers[node.name]
            scales = [s for name in above for n, s in branches(graph, name) if n is node]
            scale = scales[0] if scales else layer.weight.new_ones(node.shape[0])
            found[node.name] = spectrum(gradient[layer.weight_name] / scale.reshape(-1, 1, 1, 1), area)
    return found


def _count(graph: Graph, node: Node, readers: list[Node], examples: int, spectra: Mapping[str, Spectrum]) -> Reading:
    layer = readers[0].operation
    assert isinstance(layer, Layer)
    unknowns = examples * positions(layer, node.shape)
    missing = max(0, lacking(readers, node.shape, examples))
    known = sum(examples * math.prod(reader.shape) * _share(graph, reader) for reader in readers)
    seen = spectra.get(readers[0].name)
    return Reading(
        where=readers[0].operation.where,
        shape=node.shape,
        unknowns=unknowns,
        missing=missing,
        closed=known >= 1.2 * missing * (examples * math.prod(node.shape) / unknowns),
        rank=seen.rank if seen else 0,
        gap=seen.gap if seen else 0.0,
    )


def _share(graph: Graph, node: Node) -> float:
    """The part of a layer's outputs that the activation above it gives away: all, or the positive half."""
    for name in graph.consumers[node.name]:
        above = graph.nodes[name].operation
        if isinstance(above, Activation):
            low = float(above.slope(torch.tensor(-1.0, dtype=graph.dtype)))
            return 0.5 if above.twin is not None or (above.kinked and low == 0) else 1.0
        if not isinstance(above, (Layer, Opaque)):
            return _share(graph, graph.nodes[name])
    return 0.0
