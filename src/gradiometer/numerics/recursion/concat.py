"""Concatenation of channels, as in a DenseNet."""

from __future__ import annotations

from dataclasses import dataclass

from .graph import Affine, Graph, Node


@dataclass(frozen=True, kw_only=True, eq=False)
class Concat(Affine):
    """Puts its inputs' channels behind each other."""


def part(graph: Graph, node: Node, name: str) -> slice:
    """The channels that an input has in a concatenation."""
    sizes = [graph.nodes[below].shape[0] for below in node.inputs]
    place = sum(sizes[: node.inputs.index(name)])
    return slice(place, place + graph.nodes[name].shape[0])
