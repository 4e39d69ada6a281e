"""Verifying a batch of sentences: what it would cause, beside what was sent."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from gradiometer.core import Batch, Channel, Recipe, Update, Values, simulate

SINGLE = 1e-5
"""Relative distance of two gradients of the same batch that a float32 client's rounding explains. Measured 5e-7 to 1e-6."""


def caused(update: Update, batch: Batch, channel: Channel | None) -> Values:
    """What the batch would send, as a channel decodes it."""
    recipe = update.need("recipe") if update.sends == "delta" else Recipe()
    values = simulate(update.need("model"), update.need("loss"), replace(recipe, examples=batch.size), batch).values
    return values if channel is None else channel.decode(channel.forward(values))


def verify(update: Update, values: Values, batch: Batch, channel: Channel | None) -> tuple[float, float]:
    """Relative distance of what the batch would cause from what was sent, and how far rounding explains it.

    A float32 client rounds its weights after every local step, by up to 2^-24 of them: for a change of weights that counts.
    """
    model, simulated = update.need("model"), caused(update, batch, channel)
    size = _norm(list(values.values()))
    apart = _norm([simulated[name].double() - value.double() for name, value in values.items()]) / size
    limit = SINGLE
    if update.sends == "delta":
        recipe = update.need("recipe")
        weights = [parameter for name, parameter in model.named_parameters() if name in values]
        limit = max(limit, recipe.steps**0.5 * 2**-24 * _norm(weights) / size)
    return apart, limit


def _norm(tensors: list[Tensor]) -> float:
    return sum(float(tensor.detach().double().square().sum()) for tensor in tensors) ** 0.5
