"""Recursive: exact inversion by linear algebra, layer by layer from the head to the input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gradiometer.core import (
    Attack,
    Batch,
    Card,
    Guess,
    NotApplicable,
    Recipe,
    Update,
    clone_model,
    simulate,
    spawn,
)
from gradiometer.numerics.recursion.beginning import Beginning, begin
from gradiometer.numerics.recursion.inversion import invert
from gradiometer.numerics.recursion.record import Walk
from gradiometer.numerics.recursion.remainder import settle
from gradiometer.numerics.recursion.tracing import trace
from gradiometer.numerics.recursion.walk import walk

FLOAT32_LIMIT = 3e-6
"""Relative error of a gradient that a float32 client's own rounding explains. A cautious guess, not yet measured across machines."""
NOISE, DRAWS = 1e-6, 8
"""Relative error of pictures that counts as none (120 dB), and how many draws of it show how far it moves the gradient."""


@dataclass(frozen=True, kw_only=True)
class Recursive(Attack):
    """Solves every layer's input from its own weight gradient, from the head down, for whole batches.

    What stands above a layer gives its derivatives, and these turn its weight gradient into linear equations in its
    input. Behind a global mean the shift structure of the last convolution's gradient tells the batch size, every
    example's masks, and p - y, hence the labels. Neither labels nor batch size need be granted. Where the equations end
    the pictures follow from the last exact maps by descent through the layers below.

    Args:
        evaluations: upper limit of that descent.

    The guess is called exact (`notes["exact"]`) only if the gradient that it would cause is the one that was sent, up to
    the rounding of 32-bit floats, or to what relative errors of 1e-6 in the pictures (120 dB) would change.
    """

    card: ClassVar[Card] = Card(
        summary="Inverts networks layer by layer with linear systems: exact for one example and for small batches.",
        title="R-GAP: Recursive Gradient Attack on Privacy",
        authors="Zhu, Blaschko",
        year=2021,
        arxiv="2010.07733",
        modality="image",
        family="analytic",
        formula="corr(u, delta) = dW, solved for u from the head to the input",
        needs=("model",),
        departs="weighted least squares with a noise model, bias gradients as checksums, residual networks, batches, and "
        "global pooling by the shift structure of convolution gradients, which is ours",
    )
    evaluations: int = 400

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        update = update.to("cpu")
        model = update.need("model")
        _refuse(update, model)
        shape = update.layout["x"].shape
        gradient = {name: value.detach().double() for name, value in update.as_gradient().items()}
        graph = trace(model, shape)
        top = begin(graph, gradient, rng=spawn(rng))
        found = walk(graph, gradient, top.deltas)
        x, way = self._pictures(update, found, top.labels, rng)
        notes = {"examples": len(top.labels), "way": way, "stopped": found.stopped, **_log(top, found)}
        if x is None:
            return Guess(tensors={"y": top.labels}, notes={**notes, "exact": False})
        x = update.layout["x"].clamp(x.float())
        agreement, limit = _verify(update, x, top.labels, spawn(rng))
        exact = agreement <= limit
        return Guess(
            tensors={"x": x, "y": top.labels},
            confidence=torch.full((len(x),), 1.0 if exact else max(0.0, min(0.99, 1 - agreement))),
            objective=agreement,
            notes={**notes, "exact": exact, "agreement": agreement, "limit": limit},
        )

    def _pictures(self, update: Update, found: Walk, y: Tensor, rng: torch.Generator) -> tuple[Tensor | None, str]:
        graph, frontier, left = found.graph, found.frontier, found.remainder
        if left is not None:
            way = f"linear algebra to the pixels but {len(left.open)} directions, these by the whole gradient"
            return settle(_gradient_of(update, y), list(found.gradient.values()), left), way
        if frontier is None:
            return None, "nothing above the input is determined"
        known = found.values[frontier]
        if frontier == graph.input:
            return known.value, "linear algebra to the pixels"
        single = trace(update.need("model"), graph.nodes[graph.input].shape, dtype=torch.float32)
        targets = [(name, found.values[name].value) for name in found.targets()]
        result = invert(single, targets, rng=spawn(rng), evaluations=self.evaluations)
        where = graph.nodes[frontier].operation.where
        shape = " x ".join(map(str, graph.nodes[frontier].shape))
        return (
            result.x,
            f"descent from {where} ({shape}), {result.evaluations} evaluations, error {float(result.error.max()):.0e}",
        )


def _refuse(update: Update, model: nn.Module) -> None:
    recipe, layout = update.recipe, update.layout
    if not {"x"} <= set(layout) <= {"x", "y"}:
        raise NotApplicable(f"Recursive reads inputs `x` with labels `y`, and the layout holds {sorted(layout)}")
    if update.sends == "delta" and recipe is not None and recipe.steps > 1:
        raise NotApplicable(
            f"Recursive needs the gradient at one point, and this delta sums up {recipe.steps} steps",
            fix="attack a client that takes one step, or choose a matching attack",
        )
    norms = (nn.modules.batchnorm._BatchNorm, nn.InstanceNorm2d)
    if recipe is not None and recipe.mode == "train" and any(isinstance(m, norms) for m in model.modules()):
        raise NotApplicable(
            "Recursive needs fixed normalization statistics, and this client normalizes by its own batch",
            fix="attack a client in eval mode, or choose a matching attack",
        )


def _gradient_of(update: Update, y: Tensor) -> Callable[[Tensor], list[Tensor]]:
    """The gradient that an input would cause, in its precision, tensor by tensor in the update's order."""
    single, loss, names = update.need("model"), update.need("loss"), list(update.as_gradient())
    double = clone_model(single).double()

    def caused(x: Tensor) -> list[Tensor]:
        model = double if x.dtype == torch.float64 else single
        values = simulate(model, loss, Recipe(examples=len(x)), Batch(x=x, y=y), differentiable=True).values
        return [values[name] for name in names]

    return caused


def _verify(update: Update, x: Tensor, y: Tensor, rng: torch.Generator) -> tuple[float, float]:
    """How far the gradient that the guess would cause is from the sent one, and how far rounding explains.

    A unit at its kink makes the gradient jump where the guess stands on its other side: neighbors of the guess stand for
    it, so that neither such a jump nor the lack of one decides.
    """
    sent = update.as_gradient()
    model, loss, recipe = update.need("model"), update.need("loss"), Recipe(examples=len(x))
    total = sum(float(value.double().square().sum()) for value in sent.values()) ** 0.5

    def caused(pictures: Tensor) -> dict[str, Tensor]:
        return simulate(model, loss, recipe, Batch(x=pictures, y=y)).values

    here, size = caused(x), NOISE * float(x.square().mean().sqrt())
    agreement, limit, moved = _distance(here, sent) / total, FLOAT32_LIMIT, float("inf")
    for _ in range(DRAWS):
        if agreement <= limit:
            break
        draw = caused(x + size * torch.randn(x.shape, generator=rng))
        moved = min(moved, _distance(draw, here) / total)
        agreement, limit = min(agreement, _distance(draw, sent) / total), max(FLOAT32_LIMIT, 3 * moved)
    return agreement, limit


def _distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return sum(float((one[name].double() - other[name].double()).square().sum()) for name in other) ** 0.5


def _log(top: Beginning, found: Walk) -> dict[str, Any]:
    seen = top.spectrum
    spectrum = None if seen is None else {"rank": seen.rank, "positions": seen.positions, "gap": seen.gap}
    return {"spectrum": spectrum, "layers": {name: asdict(step) for name, step in found.steps.items()}}
