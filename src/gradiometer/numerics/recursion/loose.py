"""Values between the tensors of a graph: sizes, tuples, transposed batches, and what is made of parameters alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx


@dataclass(frozen=True, kw_only=True, eq=False)
class Loose:
    """A value that is no tensor with a row for every example, but is computed from such tensors.

    Args:
        sources: tensors of the graph whose numbers it holds; none if it only depends on their size.
        affine: whether it is affine in them.
    """

    sources: Sequence[fx.Node]
    affine: bool


def holds_tensors(value: Any) -> bool:
    """Whether it is a tensor, or holds one at some depth."""
    return isinstance(value, Tensor) or (isinstance(value, (tuple, list)) and any(map(holds_tensors, value)))


def entries(
    node: fx.Node, values: Mapping[str, Any], function: Callable[[fx.Node], Callable[..., Any]], shape: Sequence[int]
) -> tuple[str, Tensor] | None:
    """The one stored tensor that `node` rearranges, and which of its entries, flattened, came where [*shape].

    None if it is no rearrangement: other numbers enter, an entry is used for several positions, or the stored tensor is
    used elsewhere as well.
    """
    stored = [n for n in _ancestors(node) if n.op == "get_attr" and isinstance(values[n.name], Tensor)]
    if len(stored) != 1 or values[node.name].shape[-len(shape) :] != torch.Size(shape):
        return None
    (source,) = stored
    moved = {n for n in _ancestors(node) if source in _ancestors(n)}
    others = [n for n in node.graph.nodes if n.op == "get_attr" and n.target == source.target and n is not source]
    if others or any(len(n.users) > 1 for n in moved):
        return None
    count = values[source.name].numel()

    def numbered(n: fx.Node, first: int) -> Any:
        if n is source:
            ramp = torch.arange(first, first + count, dtype=torch.float64)
            return ramp.reshape(values[n.name].shape)
        if n not in moved:
            return values[n.name]
        args, options = fx.node.map_arg((n.args, n.kwargs), lambda m: numbered(m, first))
        return function(n)(*args, **options)

    found, shifted = numbered(node, 0), numbered(node, count)
    rearranged = torch.equal(shifted, found + count) and torch.equal(found.long().double(), found)
    if not rearranged or found.numel() != torch.Size(shape).numel() or len(found.unique()) != found.numel():
        return None
    return source.name, found.long().reshape(tuple(shape))


def _ancestors(node: fx.Node) -> list[fx.Node]:
    """The node and everything that it is computed from."""
    found = [node]
    for n in found:
        found += [m for m in n.all_input_nodes if m not in found]
    return found
