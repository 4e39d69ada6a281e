"""What a message tells of the client's mean gradient: a best estimate, and the variance of its entries.

Weights of a float32 client are rounded after every local step, to the spacing of floats near them: a weight delta holds
an error of variance steps * spacing(w)^2 / 12, which is far above the rounding of a gradient where steps are short.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradiometer.core import Channel, Update, Values, trainable
from gradiometer.numerics.channels import Rescaled, Sequence
from gradiometer.numerics.recursion.noise import NONE, Noise


def received(update: Update, channel: Channel | None) -> tuple[dict[str, Tensor], Noise]:
    """The mean gradient by parameter name in float64, and its noise (none if it is a plain float32 client's gradient).

    Of matrices with hidden entries the other rows are of use; vectors with hidden entries, which are read as sums, are left out.

    Args:
        channel: of the defense, where it is known.
    """
    sent = update.values if channel is None else channel.decode(update.values)
    gradient = {name: value.detach().double() for name, value in update.replace(values=sent).as_gradient().items()}
    noise = {name: torch.zeros_like(value) for name, value in gradient.items()}
    if channel is not None:
        noise = {name: value.detach().double() for name, value in channel.variance(update.values).items()}
    if update.sends == "delta":
        recipe = update.need("recipe")
        rounding = {name: recipe.steps * spacing**2 / 12 for name, spacing in _spacings(update).items()}
        noise = {name: (value + rounding[name]) / recipe.reach**2 for name, value in noise.items()}
    for name, value in noise.items():
        if value.dim() < 2 and not bool(value.isfinite().all()):
            del gradient[name]
    return gradient, noise if any(bool((value > 0).any()) for value in noise.values()) else NONE


def loses_scales(channel: Channel | None) -> bool:
    """Whether every tensor was multiplied by a factor of its own, which the message does not tell."""
    members = channel.channels if isinstance(channel, Sequence) else (channel,)
    return any(isinstance(member, Rescaled) and member.per_layer for member in members)


def _spacings(update: Update) -> Values:
    """Distance of neighboring floats at every weight."""
    weights = trainable(update.need("model"))
    return {
        name: torch.nextafter(w.abs(), torch.full_like(w, torch.inf)).double() - w.abs().double()
        for name, w in weights.items()
    }
