"""A second look at a channel whose derivatives are in doubt, through the weight gradient of the layer that they enter.

Once a layer's input u is known from its other output channels, channel c's own weight gradient is linear in the few
units that may have the other slope: dW[c] - corr(u, delta[c]) = sum_j a_j change_j patch_j(u) with a_j in {0, 1}.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .checksum import Units
from .equations import input_matrix, right_side
from .graph import Layer

SMALL = 0.1
"""What may be left unexplained, as a part of what flipping an ordinary unit would do."""


def flips(
    layer: Layer,
    value: Tensor,
    delta: Tensor,
    gradient: Tensor,
    found: Units,
    scale: Tensor,
    channel: int,
    error: float,
) -> Tensor | None:
    """Units of the channel that have the other slope; None if no choice explains the gradient.

    Args:
        layer: reads `value` and writes the channel; `delta` are the derivatives by its output that were assumed.
        gradient: of its weight.
        found: units of the activation above; scale: derivative of that activation's input by the layer's output.
        error: of a row of the weight gradient, root mean square.
    """
    group, inside = divmod(channel, layer.weight.shape[0] // layer.groups)
    kernel = layer.offsets
    patches = input_matrix(layer, value)[group]
    wanted = right_side(layer, gradient)[group].reshape(-1, kernel, gradient.shape[1])[inside].T.flatten()
    assumed = (delta.movedim(-1, 0) if layer.dense else delta.movedim(1, 0)).flatten(1)[channel]
    rest = wanted - patches @ assumed
    unit = (patches * (scale[channel] * found.change(channel, torch.arange(patches.shape[1])))).square().mean(0).sqrt()
    enough = max(6 * error, SMALL * float(unit.median()))
    near = found.near(channel, len(rest) // 2)
    near = near[found.price[channel, near].isfinite()]
    effect = patches[:, near] * (scale[channel] * found.change(channel, near))
    size = effect.square().mean(0).sqrt()
    near, effect = near[size > 3 * error], effect[:, size > 3 * error]
    if len(near):
        amount = torch.linalg.lstsq(effect, rest[:, None], driver="gelsd").solution[:, 0]
        near, effect = near[amount > 0.5], effect[:, amount > 0.5]
    left = rest - effect.sum(1)
    return near if float(left.square().mean().sqrt()) <= enough else None
