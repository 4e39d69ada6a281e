"""Exact recursion where BatchNorm took the batch's own statistics: the steps of `Recursive`, with other equations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

import torch
from torch import Tensor

from gradiometer.core import Guess, NotApplicable, Update, spawn
from gradiometer.numerics.recursion.beginning import shifted
from gradiometer.numerics.recursion.graph import Graph
from gradiometer.numerics.recursion.levels import on_levels
from gradiometer.numerics.recursion.own_norm import own_norms
from gradiometer.numerics.recursion.tracing import trace
from gradiometer.numerics.recursion.train_norm import in_train_mode, normalizes_by_batch
from gradiometer.numerics.recursion.train_pixels import ARRIVED, pixels
from gradiometer.numerics.recursion.train_record import TrainWalk
from gradiometer.numerics.recursion.train_top import read_train_top
from gradiometer.numerics.recursion.train_walk import train_walk

from ..sums import refuse_sums
from .verifying import Verifier

SHARP = 1e-5
"""Relative error of the pictures' common scale up to which they may be called exact."""
UNPREDICTED = "the client normalizes by its own batch: maps of the upper layers are read, how far down is not predicted"
"""What the meter says."""


def own_statistics(update: Update, graph: Graph, gradient: Mapping[str, Tensor]) -> Graph | None:
    """The graph with normalizations by their own statistics, if what the client's model does is to be followed through some.

    BatchNorm is one of them if the recipe says so or the gradient shows it. A network that adds a trained parameter to
    whole tensors tells one example's derivatives there, and its LayerNorms need not be followed.

    Raises:
        NotApplicable: several clients normalized, each by its own batch.
    """
    changed = in_train_mode(graph, update.need("model"))
    if any(norm.batch for norm in own_norms(changed)):
        said = update.recipe is not None and update.recipe.mode == "train"
        if said or normalizes_by_batch(changed, gradient):
            refuse_sums(update, statistics=True)
            return changed
    return graph if own_norms(graph) and not shifted(graph, gradient) else None


def recover(update: Update, graph: Graph, gradient: Mapping[str, Tensor], rng: torch.Generator) -> Guess | None:
    """Labels and maps (`notes["features"]`), and the pictures if they were reached; None if another way in may be open.

    Args:
        graph: in train mode.

    Raises:
        NotApplicable: BatchNorm took the batch's own statistics, and no maps can be read, with the reason.
    """
    mode: Literal["train", "eval"] = "train" if any(norm.batch for norm in own_norms(graph)) else "eval"
    top = read_train_top(graph, gradient, rng=spawn(rng))
    if isinstance(top, str) and mode == "eval":
        return None
    if isinstance(top, str):
        raise NotApplicable(
            f"the client normalizes by its own batch, and no maps can be read off its gradient: {top}",
            fix="attack a client in eval mode, or choose a matching attack",
        )
    found = train_walk(graph, gradient, top)
    x, way, scale = _pictures(update, found, rng)
    if x is not None and scale > SHARP:
        x, told = on_levels(x, scale, update.layout["x"])
        scale, way = told, way + (f", and by the pixels' levels to {told:.0e}" if told < scale else "")
    seen = top.spectrum
    notes: dict[str, Any] = {
        "examples": len(top.labels),
        "mode": mode,
        "way": way,
        "stopped": found.stopped,
        "spectrum": None if seen is None else {"rank": seen.rank, "positions": seen.positions, "gap": seen.gap},
        "layers": {name: asdict(step) for name, step in found.steps.items()},
        "features": {name: estimate.value.float() for name, estimate in found.values.items()},
    }
    if x is None:
        return Guess(tensors={"y": top.labels}, notes={**notes, "exact": False})
    x = update.layout["x"].clamp(x.float())
    agreement, limit = Verifier(update=update, labels=top.labels, mode=mode).verdict(x, spawn(rng))
    exact = agreement <= limit and scale <= SHARP
    return Guess(
        tensors={"x": x, "y": top.labels},
        confidence=torch.full((len(x),), 1.0 if exact else max(0.0, min(0.99, 1 - agreement))),
        objective=agreement,
        notes={**notes, "exact": exact, "agreement": agreement, "limit": limit},
    )


def _pictures(update: Update, found: TrainWalk, rng: torch.Generator) -> tuple[Tensor | None, str, float]:
    """The pictures, the way that led there, and the relative error of their common scale."""
    graph, model = found.graph, update.need("model")
    if graph.input in found.values:
        way = f"linear algebra to the pixels; the pictures' common scale is known to {found.scale:.0e}"
        return found.values[graph.input].value, way, found.scale
    frontier = found.frontier()
    where = ", ".join(f"{name} ({' x '.join(map(str, graph.nodes[name].shape))})" for name in frontier)
    single = in_train_mode(trace(model, graph.nodes[graph.input].shape, dtype=torch.float32), model)
    result = pixels(single, found.values, frontier, found.gradient, rng=spawn(rng))
    if result.residual > ARRIVED:
        way = f"maps down to {where}; the pictures were not reached from there (residual {result.residual:.0e})"
        return None, way, result.scale
    return (
        result.x,
        f"Gauss-Newton from {where}; the pictures' common scale is known to {result.scale:.0e}",
        result.scale,
    )
