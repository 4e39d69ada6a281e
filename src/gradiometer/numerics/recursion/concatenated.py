"""Derivatives behind a global mean for one example where the last maps are concatenated, as in a DenseNet.

With d = share^T (p - y) known from the head, delta[c, p] = d[c] slope[c, p] by the last activation's input. The convolution
that made the last channels gives their slopes by its shift structure, and from them a first walk leads to the maps that
stand beside them, wherever an activation below lets these through. Their slopes follow from the values; where an
activation below is closed, from its own threshold. The bias gradient counts the open units of every channel and has the
last word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from .checksum import sums
from .concat import Concat, part
from .forward_known import Known
from .graph import Graph, Layer, Node, Norm
from .pooled import read_top
from .top import Mean, Top, find_mean
from .walk import walk

COUNTED = 0.01
"""Open units by which a channel's bias gradient may be off."""
ZERO = 1e-5
"""Part of the maps' size up to which a value counts as at its threshold."""


class Ending(NamedTuple):
    """The maps beside the last channels, the convolution of these, and the normalization of both in front of the last activation."""

    mean: Mean
    norm: Node
    beside: Node
    last: Node


def told(graph: Graph, gradient: Mapping[str, Tensor]) -> set[str]:
    """The tensor whose derivatives `derivatives` may tell, by the layer's widths; none otherwise."""
    ending = _ending(graph, gradient)
    return set() if isinstance(ending, str) else {ending.norm.name}


def derivatives(
    graph: Graph, gradient: Mapping[str, Tensor], residues: Tensor, *, rng: torch.Generator
) -> tuple[str, Tensor] | str:
    """Derivatives by the last activation's input [1, channels, height, width] and that tensor, or why they stay unknown.

    The reason is empty where nothing is concatenated there.

    Args:
        residues: p - y [1, classes].
    """
    ending = _ending(graph, gradient)
    if isinstance(ending, str):
        return ending
    mean, norm, beside, last = ending
    where, operation = graph.nodes[norm.inputs[0]], norm.operation
    assert isinstance(operation, Norm)
    own = part(graph, where, last.name)
    top = Top(
        head=mean.head,
        activation=mean.activation,
        below=last.name,
        layer=last,
        scale=operation.scale[own],
        share=mean.share[:, own],
    )
    read = read_top(graph, gradient, top, rng=rng, alone=residues)
    if isinstance(read, str):
        return read
    first = walk(graph, gradient, {last.name: read.delta * top.scale[:, None, None]})
    maps = Known(graph=graph, values=first.values).partial(beside.name)
    if maps is None:
        return f"the maps beside those of {last.operation.where} stay unknown: {first.stopped}"
    level = residues @ mean.share
    whole = maps.value.new_zeros(1, *where.shape)
    whole[:, part(graph, where, beside.name)] = maps.value
    before = operation.apply(whole)
    slopes = (before > ZERO * before.square().mean().sqrt()).to(before)
    slopes[:, own] = read.delta / level[:, own, None, None]
    counted = sums(graph, gradient, norm.name)
    if counted is not None and float((counted / level[0] - slopes.sum((0, 2, 3))).abs().max()) > COUNTED:
        return f"the bias gradient of {operation.where} counts other open units than the maps beside {last.operation.where} have"
    return norm.name, level[:, :, None, None] * slopes


def lacking(graph: Graph, gradient: Mapping[str, Tensor]) -> str:
    """Why `derivatives` tells nothing; empty where nothing is concatenated in front of the last activation, or nothing lacks."""
    ending = _ending(graph, gradient)
    return ending if isinstance(ending, str) else ""


def _ending(graph: Graph, gradient: Mapping[str, Tensor]) -> Ending | str:
    mean = find_mean(graph)
    if isinstance(mean, str):
        return ""
    norm = graph.nodes[mean.activation.inputs[0]]
    both = graph.nodes[norm.inputs[0]] if norm.inputs else norm
    if not (isinstance(norm.operation, Norm) and isinstance(both.operation, Concat) and len(both.inputs) == 2):
        return ""
    beside, last = (graph.nodes[name] for name in both.inputs)
    layer, area = last.operation, last.shape[1] * last.shape[2]
    if not (isinstance(layer, Layer) and layer.shifts() and layer.weight_name in gradient):
        return f"{layer.where} has no shift structure"
    if area > min(layer.weight.shape[:2]):
        return f"{layer.where} has too few channels for {area} positions"
    return Ending(mean, norm, beside, last)
