"""Exact recursion where BatchNorm took the batch's own statistics: the steps of `Recursive`, with other equations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from gradiometer.core import NotApplicable, Update, spawn
from gradiometer.numerics.recursion.graph import Graph
from gradiometer.numerics.recursion.tracing import trace
from gradiometer.numerics.recursion.train_norm import BatchNorm, in_train_mode, normalizes_by_batch
from gradiometer.numerics.recursion.train_pixels import ARRIVED, pixels
from gradiometer.numerics.recursion.train_top import read_train_top
from gradiometer.numerics.recursion.train_walk import train_walk

SHARP = 1e-5
"""Relative error of the pictures' common scale up to which they may be called exact."""


def uses_batch_statistics(update: Update, graph: Graph, gradient: Mapping[str, Tensor]) -> bool:
    """Whether the client normalized by its own batch: as its recipe says, or as the gradient shows.

    Args:
        graph: in train mode.
    """
    if not any(isinstance(node.operation, BatchNorm) for node in graph.nodes.values()):
        return False
    said = update.recipe is not None and update.recipe.mode == "train"
    return said or normalizes_by_batch(graph, gradient)


def recover(
    update: Update, graph: Graph, gradient: Mapping[str, Tensor], rng: torch.Generator
) -> tuple[Tensor | None, Tensor, dict[str, Any], bool]:
    """Pictures (None if they were not reached), labels, notes, and whether BatchNorm left no number of them vague.

    Args:
        graph: in train mode.

    Raises:
        NotApplicable: no maps can be read, with the reason.
    """
    top = read_train_top(graph, gradient, rng=spawn(rng))
    if isinstance(top, str):
        raise NotApplicable(
            f"the client normalizes by its own batch, and no maps can be read off its gradient: {top}",
            fix="attack a client in eval mode, or choose a matching attack",
        )
    found = train_walk(graph, gradient, top)
    frontier = found.frontier()
    notes: dict[str, Any] = {
        "examples": len(top.labels),
        "mode": "train",
        "stopped": found.stopped,
        "spectrum": {"rank": top.spectrum.rank, "positions": top.spectrum.positions, "gap": top.spectrum.gap},
        "layers": {name: asdict(step) for name, step in found.steps.items()},
        "features": {name: estimate.value.float() for name, estimate in found.values.items()},
    }
    if graph.input in found.values:
        way = f"linear algebra to the pixels; the pictures' common scale is known to {found.scale:.0e}"
        return found.values[graph.input].value, top.labels, {**notes, "way": way}, found.scale <= SHARP
    where = ", ".join(f"{name} ({' x '.join(map(str, graph.nodes[name].shape))})" for name in frontier)
    model = update.need("model")
    single = in_train_mode(trace(model, graph.nodes[graph.input].shape, dtype=torch.float32), model)
    result = pixels(single, found.values, frontier, gradient, rng=spawn(rng))
    if result.residual > ARRIVED:
        way = f"maps down to {where}; the pictures were not reached from there (residual {result.residual:.0e})"
        return None, top.labels, {**notes, "way": way}, False
    way = f"Gauss-Newton from {where}; the pictures' common scale is known to {result.scale:.0e}"
    return result.x, top.labels, {**notes, "way": way, "scale": result.scale}, result.scale <= SHARP
