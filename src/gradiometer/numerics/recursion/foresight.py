"""The walk foreseen by counting: which tensors the equations would determine, and what would stop it. Nothing is solved.

The count is generic: dead units, dependent positions and noise can only take away from it, known outputs of an
activation add to it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..meter import Reading
from .averages import Average, unread
from .equations import positions
from .graph import Activation, Affine, Graph, Layer, MaxPool, Node, Opaque, Reshape
from .joint import lacking
from .left import followed
from .own_norm import OwnNorm
from .record import ENOUGH
from .remainder import LIMIT
from .routing import readable
from .shift import Spectrum

DESCENT = 4
"""How many known numbers a pixel lead a descent to the pictures: about half of a ReLU's are zeros."""

TWICE, EACH = 2.0, 0.6
"""How many numbers for every one of the input, equations and known outputs together, lead Gauss-Newton steps to one example:
at least the first, and the second for every layer on the way."""


@dataclass(kw_only=True, eq=False)
class Way:
    """The walk, by counting: which tensors would be known, and what stops it.

    Args:
        examples: the batch size.
        known: tensors whose values are determined, from the head's side.
        open: equations that lack at the input, all channels together; -1 if it is not reached.
        told: equations and known outputs of the layers that read what stopped the walk, for every number of the input.
    """

    graph: Graph
    gradient: Mapping[str, Tensor]
    spectra: Mapping[str, Spectrum]
    examples: int
    known: list[str] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    reason: str = ""
    routed: int = 0
    open: int = -1
    told: float = 0.0

    def follow(self, start: set[str]) -> None:
        """From these tensors, whose derivatives are known, down to the input."""
        told: set[str] = set()
        for node in reversed(list(self.graph.nodes.values())):
            above = self.graph.consumers[node.name]
            if (node.name in start or (above and told >= set(above))) and self._passes(node, told):
                told.add(node.name)

    def reaches(self) -> bool:
        """Whether the pictures follow: by equations, the whole gradient, descent or steps from enough known numbers."""
        if self.graph.input in self.known or 0 <= self.open <= LIMIT:
            return True
        # Averages fix sums of what is below them: a descent from these alone ends beside the pictures.
        known = [node for name in self.known if not isinstance((node := self.graph.nodes[name]).operation, Average)]
        held = math.prod(known[-1].shape) if known else 0
        pixels = math.prod(self.graph.nodes[self.graph.input].shape)
        if held >= DESCENT * pixels or (self.routed > 0 and held + self.routed >= ENOUGH * pixels):
            return True
        if not held or self.routed or self.examples > 1:
            return False
        below = self.graph.needed(known[-1].name, self.graph.input)
        return self.told >= max(TWICE, EACH * sum(isinstance(node.operation, Layer) for node in below))

    def _passes(self, node: Node, told: set[str]) -> bool:
        """Whether derivatives pass to the node's inputs."""
        graph, operation = self.graph, node.operation
        if isinstance(operation, MaxPool):
            if readable(graph, node, self.examples):
                return True
            self.routed = _below(graph, node)
            return self._stop(f"the places that {operation.where} takes show in the pictures alone")
        if isinstance(operation, OwnNorm) and isinstance(graph.nodes[node.inputs[0]].operation, Layer):
            return True  # as far as what that layer reads is determined
        if isinstance(operation, Affine):
            if isinstance(operation, (Average, Reshape)):
                self._determined(node, told)
            return True
        if isinstance(operation, Activation) or not node.inputs:
            return self._determined(node, told)
        return self._stop(f"{operation.where} cannot be followed backward")

    def _determined(self, node: Node, told: set[str]) -> bool:
        graph = self.graph
        consumers = [graph.nodes[name] for name in graph.consumers[node.name]]
        readers = [c for c in consumers if isinstance(c.operation, Layer) and c.name in told]
        readers = [r for r in readers if isinstance(r.operation, Layer) and r.operation.weight_name in self.gradient]
        if any(isinstance(c.operation, Reshape) and c.name in self.known for c in consumers):
            return self._know(node)
        if not readers:
            return self._stop(unread(graph, node))
        reading = count(graph, node, readers, self.examples, self.spectra)
        self.readings.append(reading)
        held = math.prod(graph.nodes[self.known[-1]].shape) if self.known else 0
        enough = held >= ENOUGH * math.prod(graph.nodes[graph.input].shape)
        if reading.missing and (enough or not reading.closed):
            self.told = max(self.told, _told(graph, node, readers, reading))
            if not node.inputs:
                layer = readers[0].operation
                assert isinstance(layer, Layer)
                self.open = reading.missing * (self.examples * math.prod(node.shape) // reading.unknowns)
            return self._stop(f"{reading.where} has {reading.missing} equations a channel too few")
        return self._know(node)

    def _know(self, node: Node) -> bool:
        self.known.append(node.name)
        self.reason = ""  # by a way around what stopped others
        return True

    def _stop(self, reason: str) -> bool:
        self.reason = self.reason or reason
        return False


def _told(graph: Graph, node: Node, readers: Sequence[Node], reading: Reading) -> float:
    """How many numbers, for every number of the input, the layers that read a tensor tell of it."""
    equations = (reading.unknowns - reading.missing) / reading.unknowns * math.prod(node.shape)
    outputs = sum(math.prod(reader.shape) * _share(graph, reader) for reader in readers)
    return (equations + outputs) / math.prod(graph.nodes[graph.input].shape)


def _below(graph: Graph, pool: Node) -> int:
    """How many weight-gradient entries a descent through this pooling has to agree with."""
    names = {graph.input, *(node.name for node in graph.needed(pool.name, graph.input))}
    layers = (node.operation for node in followed(graph, names))
    return sum(layer.weight.numel() for layer in layers if isinstance(layer, Layer))


def count(graph: Graph, node: Node, readers: Sequence[Node], examples: int, spectra: Mapping[str, Spectrum]) -> Reading:
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
        if isinstance(above, OwnNorm) or not isinstance(above, (Layer, Opaque)):
            return _share(graph, graph.nodes[name])
    return 0.0
