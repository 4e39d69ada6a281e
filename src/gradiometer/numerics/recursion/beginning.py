"""Where a walk begins: the derivatives by the logits of one example, or those behind the global mean of a batch.

A trained parameter that is added to a whole tensor, as a vision transformer's position embedding, is one more beginning
for one example: its gradient is the derivative by that tensor (Lu et al., APRIL, 2022, arXiv:2112.14087).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.core import NotApplicable

from . import bottleneck, concatenated
from .graph import Graph, Shift
from .head import single
from .noise import NONE, Noise
from .pooled import Pooled, read_top
from .shift import Spectrum
from .top import find_head, find_mean, find_top


@dataclass(frozen=True, kw_only=True, eq=False)
class Beginning:
    """Derivatives by some tensors, and r = (p - y) / batch size of every example.

    Args:
        deltas: by tensor [examples, ...]; everything below it is theirs to find.
        residues: [examples, classes].
        spectrum: of the layer that told the batch size, where one did.
        hidden: why nothing below a global mean follows from these, where nothing does.
    """

    deltas: Mapping[str, Tensor]
    residues: Tensor
    spectrum: Spectrum | None = None
    hidden: str = ""

    @property
    def labels(self) -> Tensor:
        """The classes of the examples: p - y is negative there alone."""
        return self.residues.argmin(1)


def begin(graph: Graph, gradient: Mapping[str, Tensor], *, rng: torch.Generator, noise: Noise = NONE) -> Beginning:
    """Reads the top of the network.

    Args:
        noise: in the gradient.

    Raises:
        NotApplicable: neither way in is open, with the reasons.
    """
    head = find_head(graph)
    one = single(head, gradient, noise)
    top = find_top(graph)
    if isinstance(top, str):
        if one is None:
            summed = any(isinstance(node.operation, Shift) for node in graph.nodes.values())
            also = ", and the gradient of what it adds to every position is a sum over examples" if summed else ""
            raise NotApplicable(
                "the head's gradient is no product of two vectors: several examples or a defense stand behind it, and "
                f"this network does not let examples be told apart: {top}{also}",
                fix="attack an undefended update of one example, or a network that averages its last maps",
            )
        lower = bottleneck.derivatives(graph, gradient, one)
        if isinstance(lower, str):
            lower = concatenated.derivatives(graph, gradient, one, rng=rng) or lower
        start = {head.name: one} if isinstance(lower, str) else dict([lower])
        reason = hidden(graph, gradient) if isinstance(lower, str) else ""
        return Beginning(deltas={**start, **shifted(graph, gradient)}, residues=one, hidden=reason)
    read = read_top(graph, gradient, top, rng=rng, alone=one, noise=noise)
    if isinstance(read, Pooled):
        below = {} if one is None else shifted(graph, gradient)
        return Beginning(deltas={top.below: read.delta, **below}, residues=read.residues, spectrum=read.spectrum)
    raise NotApplicable(f"what stands behind the global mean cannot be read: {read}")


def hidden(graph: Graph, gradient: Mapping[str, Tensor]) -> str:
    """Why a mean in front of the head cannot be followed for one example; empty if there is none."""
    mean, top = find_mean(graph), find_top(graph)
    if isinstance(mean, str) or not isinstance(top, str):
        return ""
    reason = concatenated.lacking(graph, gradient) or top
    return f"a mean over positions hides which units of {mean.activation.operation.where} are active, and {reason}"


def shifted(graph: Graph, gradient: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Derivatives [1, ...] by tensors that a trained parameter is added to, from its gradient at one example."""
    return {
        node.name: gradient[shift.name].flatten()[shift.entries][None]
        for node in graph.nodes.values()
        if isinstance(shift := node.operation, Shift) and shift.name in gradient
    }
