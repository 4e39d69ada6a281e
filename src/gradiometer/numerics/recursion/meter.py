"""The meter: what a gradient determines, layer by layer, by counting equations and reading spectra; no system is solved.

"exact" is a prediction, which an attack has to keep.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from torch import Tensor

from gradiometer.core import NotApplicable

from ..meter import Meter
from . import bottleneck, concatenated, train_top
from .beginning import hidden, shifted
from .checksum import sums
from .foresight import Way, count
from .graph import Graph, Layer, Node
from .head import single
from .shift import Spectrum
from .top import branches, find_head, find_top
from .wide_shift import batch_spectrum


def meter(graph: Graph, gradient: Mapping[str, Tensor], *, examples: int | None = None) -> Meter:
    """Reads a gradient, and goes the way of the walk without solving anything.

    Args:
        examples: the batch size, where it is known.
    """
    spectra = _spectra(graph, gradient)
    seen = next((s.examples for s in spectra.values() if s.examples and not s.full), 0)
    try:
        start, number = _begin(graph, gradient, spectra, examples)
    except NotApplicable as refusal:
        readings = tuple(count(graph, node, readers, examples or seen or 1, spectra) for node, readers in _read(graph))
        return Meter(verdict="not", reason=refusal.message, examples=examples or seen, layers=readings)
    way = Way(graph=graph, gradient=gradient, spectra=spectra, examples=number)
    way.follow(start)
    reached = way.reaches()
    above = "" if reached or find_head(graph).name not in start else hidden(graph, gradient)
    return Meter(
        verdict="exact" if reached else "partial",
        reason=above or way.reason,
        examples=examples or seen or number,
        layers=tuple(way.readings),
    )


def _begin(
    graph: Graph, gradient: Mapping[str, Tensor], spectra: Mapping[str, Spectrum], examples: int | None
) -> tuple[set[str], int]:
    """Tensors whose derivatives can be had at the top, and of how many examples.

    Raises:
        NotApplicable: none.
    """
    head = find_head(graph)
    one = single(head, gradient) is not None
    top = find_top(graph)
    if isinstance(top, str):
        if not one:
            raise NotApplicable(f"several examples or a defense stand behind the head, and {top}")
        ways = (train_top.told, bottleneck.told, concatenated.told)
        lower = next((found for way in ways if (found := way(graph, gradient))), {head.name})
        return {*lower, *shifted(graph, gradient)}, 1
    layer, seen = top.layer.operation, spectra.get(top.layer.name)
    area = math.prod(top.size) if seen is None else seen.positions
    assert isinstance(layer, Layer)
    number = 1 if one else examples or (seen.examples if seen else 0)
    if seen is None or number * area > min(layer.weight.shape[:2]) or (seen.full and not one):
        raise NotApplicable(f"{layer.where} has too few channels for {max(number, 1)} examples at {area} positions")
    if not number:
        raise NotApplicable(f"the rank {seen.rank} of {layer.where} is no multiple of its {area} positions")
    assert isinstance(head.operation, Layer)
    if head.operation.bias_name not in gradient and sums(graph, gradient, top.below) is None:
        raise NotApplicable("the model has no bias whose gradient tells the scale of p - y")
    return {top.below, *(shifted(graph, gradient) if one else ())}, number


def _read(graph: Graph) -> Iterator[tuple[Node, list[Node]]]:
    """Tensors that layers read, from the head to the input, with these layers."""
    for node in reversed(list(graph.nodes.values())):
        readers = [n for name in graph.consumers[node.name] if isinstance((n := graph.nodes[name]).operation, Layer)]
        if readers:
            yield node, readers


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
            scaled = gradient[layer.weight_name] / scale.reshape(-1, 1, 1, 1)
            height, width = node.shape[1:]
            found[node.name] = batch_spectrum(scaled, (height, width))
    return found
