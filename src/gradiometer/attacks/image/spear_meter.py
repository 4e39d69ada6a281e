"""What SPEAR is predicted to reach: by the singular values of the first layer's gradient, its width, and whether a ReLU follows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gradiometer.core import Batch, Loss, Update, clone_model, derive, in_mode
from gradiometer.numerics.layers import Layer
from gradiometer.numerics.meter import Meter, Reading
from gradiometer.numerics.span import Span

ROWS, MORE = 5, 0.25
"""Live rows an example from which on most batches are found: 5, and one more for every four examples."""
SHARP = 4e-5
"""Predicted standard deviation of an entry, in units of the normalized picture, up to which pictures have 100 dB. On development
batches the prediction was 1.0 to 1.9 times what the attack then told."""


def predict(update: Update, layer: Layer, seen: Span) -> Meter:
    """The meter of a batch whose span was read."""
    live = int((seen.left.norm(dim=1) > 1e-12).sum())
    needed = math.ceil(seen.rank * (ROWS + MORE * seen.rank))
    error = float(seen.noise.median() / seen.values[-1]) * layer.inputs**0.5
    reading = Reading(
        where=layer.name,
        shape=(layer.inputs,),
        unknowns=seen.rank,
        missing=max(0, needed - live),
        closed=False,
        rank=seen.rank,
        gap=seen.gap,
    )
    size = float(seen.values.square().mean() * seen.rank) ** 0.5
    shape = len(seen.left), seen.right.shape[1]
    limit = SHARP / layer.inputs**0.5 * float(seen.values[-1]) / size * (shape[0] * shape[1]) ** 0.5
    reason = ""
    if not _opens(update, layer):
        return Meter(
            verdict="not",
            reason=f"no ReLU closes outputs of layer {layer.name!r}",
            examples=seen.rank,
            layers=(reading,),
        )
    if reading.missing:
        reason = f"layer {layer.name!r} has {live} live rows for {seen.rank} examples, and about {needed} are needed"
    elif error > SHARP:
        reason = f"noise in the gradient leaves an error of {error:.1g} in each entry of a picture"
    return Meter(
        verdict="partial" if reason else "exact",
        reason=reason,
        examples=seen.rank,
        layers=(reading,),
        noise=None if reason else (limit, limit),
    )


def _opens(update: Update, layer: Layer) -> bool:
    """Whether the loss has no derivative by just those outputs of the layer that are negative, on a made-up example."""
    assert update.model is not None
    loss: Loss = update.need("loss")
    model, found = clone_model(update.model).double(), list[Tensor]()
    model.get_submodule(layer.name).register_forward_hook(lambda _, __, output: found.append(output))
    fields = {name: field for name, field in update.layout.items() if name != "x"}
    rest = {name: torch.zeros(2, *field.shape, dtype=torch.long) for name, field in fields.items()}
    drawn = torch.randn(2, *update.layout["x"].shape, generator=derive(0, "made up"), dtype=torch.float64)
    with in_mode(model, "eval"):
        value = loss(model, Batch(x=drawn, **rest))
    (slope,) = torch.autograd.grad(value, found)
    shut = slope == 0
    return bool((found[0] <= 0)[shut].all()) and bool(shut[found[0] < 0].all()) and bool(shut.any())
