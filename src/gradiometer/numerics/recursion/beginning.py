"""Where a walk begins: the derivatives by the logits of one example, or those behind the global mean of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.core import NotApplicable

from . import bottleneck
from .graph import Graph, Layer, Node
from .pooled import Pooled, read_top
from .shift import Spectrum
from .top import find_head, find_top


@dataclass(frozen=True, kw_only=True, eq=False)
class Beginning:
    """Derivatives by some tensors, and r = (p - y) / batch size of every example.

    Args:
        deltas: by tensor [examples, ...]; everything below it is theirs to find.
        residues: [examples, classes].
        spectrum: of the layer that told the batch size, where one did.
    """

    deltas: Mapping[str, Tensor]
    residues: Tensor
    spectrum: Spectrum | None = None

    @property
    def labels(self) -> Tensor:
        """The classes of the examples: p - y is negative there alone."""
        return self.residues.argmin(1)


def begin(graph: Graph, gradient: Mapping[str, Tensor], *, rng: torch.Generator) -> Beginning:
    """Reads the top of the network.

    Raises:
        NotApplicable: neither way in is open, with the reasons.
    """
    head = find_head(graph)
    one = _single(head, gradient)
    top = find_top(graph)
    if isinstance(top, str):
        if one is None:
            raise NotApplicable(
                "the head's gradient is no product of two vectors: several examples or a defense stand behind it, and "
                f"this network does not let examples be told apart: {top}",
                fix="attack an undefended update of one example, or a network that averages its last maps",
            )
        lower = bottleneck.derivatives(graph, gradient, one)
        return Beginning(deltas={head.name: one} if isinstance(lower, str) else dict([lower]), residues=one)
    read = read_top(graph, gradient, top, rng=rng, examples=None if one is None else 1)
    if isinstance(read, Pooled):
        return Beginning(deltas={top.below: read.delta}, residues=read.residues, spectrum=read.spectrum)
    raise NotApplicable(f"what stands behind the global mean cannot be read: {read}")


def _single(head: Node, gradient: Mapping[str, Tensor]) -> Tensor | None:
    """p - y of a single example [1, classes]; None if the head's gradient is no product of two vectors.

    Raises:
        NotApplicable: the head is not trained, or has no bias that fixes the scale.
    """
    layer = head.operation
    assert isinstance(layer, Layer)
    weight, bias = gradient.get(layer.weight_name), gradient.get(layer.bias_name or "")
    if weight is None or bias is None:
        raise NotApplicable(
            f"the update holds no weight and bias gradient of the head {layer.where}", fix="choose another attack"
        )
    values = torch.linalg.eigvalsh(weight @ weight.T)
    return bias[None] if float(values[-2]) < 1e-9 * float(values[-1]) else None
