"""A second look at a channel whose derivatives are in doubt, through the weight gradient of the layer that they enter.

Once a layer's input u is known from its other output channels, channel c's own weight gradient is linear in the few
units that may have the other slope: dW[c] - corr(u, delta[c]) = sum_j a_j change_j patch_j(u) with a_j in {0, 1}.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gradiometer.numerics.fit import fit

from .checksum import Units
from .equations import input_matrix, right_side
from .graph import Layer

SMALL = 0.1
"""What may be left unexplained, as a part of what flipping an ordinary unit would do."""
FEW = (4, 16, 64)
"""How many of the likeliest units are tried first: neighbors do much the same, so that many together are hard to tell."""
MORE = 1.5
"""So many equations an unknown are wanted to solve all derivatives of a channel."""


def flips(
    layer: Layer,
    value: Tensor,
    delta: Tensor,
    gradient: Tensor,
    found: Units,
    effects: Callable[[Tensor, Tensor], Tensor],
    channel: int,
    error: float,
) -> Tensor | None:
    """Units of the channel that have the other slope; None if no choice explains the gradient.

    Args:
        layer: reads `value` and writes the channel; `delta` are the derivatives by its output that were assumed.
        gradient: of its weight.
        found: units of the activation above.
        effects: of the patches that the layer reads [rows, positions] and of some units: what flipping each of these adds
            to the channel's rows of the weight gradient [rows, units].
        error: of a row of the weight gradient, root mean square.
    """
    group, inside = divmod(channel, layer.weight.shape[0] // layer.groups)
    kernel = layer.offsets
    patches = input_matrix(layer, value)[group]
    wanted = right_side(layer, gradient)[group].reshape(-1, kernel, gradient.shape[1])[inside].T.flatten()
    assumed = (delta.movedim(-1, 0) if layer.dense else delta.movedim(1, 0)).flatten(1)[channel]
    rest = wanted - patches @ assumed
    unit = effects(patches, torch.arange(patches.shape[1])).square().mean(0).sqrt()
    enough = max(6 * error, SMALL * float(unit.median()))
    for count in (*FEW, len(rest) // 2, len(rest)):
        near = found.near(channel, min(count, len(rest)))
        near = near[found.price[channel, near].isfinite()]
        effect = effects(patches, near)
        size = effect.square().mean(0).sqrt()
        near, effect = near[size > 3 * error], effect[:, size > 3 * error]
        if len(near):
            amount = fit(effect, rest)
            near, effect = near[amount > 0.5], effect[:, amount > 0.5]
        left = rest - effect.sum(1)
        if float(left.square().mean().sqrt()) <= enough:
            return near
    return None


def likelier(layer: Layer, value: Tensor, gradient: Tensor, found: Units, scale: Tensor) -> Tensor:
    """Units of all channels whose other slope is likelier, by their values and by the layer's weight gradient together.

    The gradient's rows are solved for the derivatives at all positions at once, whose errors follow from the residuals;
    each unit then chooses between its two slopes. No unit is chosen where there are too few equations for that.

    Args:
        layer, value, gradient, found: as for `flips`; scale: derivative of the activation's input by the layer's output.

    Returns:
        [channels, examples * positions].
    """
    patches = input_matrix(layer, value)
    groups, rows, count = patches.shape
    nothing = torch.zeros_like(found.slope, dtype=torch.bool)
    if rows < MORE * count:
        return nothing
    right = right_side(layer, gradient).reshape(groups, -1, rows // gradient.shape[1], gradient.shape[1])
    right = right.permute(0, 3, 2, 1).reshape(groups, rows, -1)
    factor, failed = torch.linalg.cholesky_ex(patches.mT @ patches)
    if bool(failed.any()):
        return nothing
    seen = torch.cholesky_solve(patches.mT @ right, factor)
    error = (right - patches @ seen).square().sum(1, keepdim=True) / (rows - count)
    variance = error * torch.cholesky_inverse(factor).diagonal(dim1=1, dim2=2)[..., None]
    seen, variance = (t.mT.reshape(found.slope.shape) for t in (seen, variance))
    here, there = (scale[:, None] * found.delta * slope for slope in (found.slope, found.other))
    gain = ((seen - here).square() - (seen - there).square()) / (2 * variance.clamp_min(1e-300))
    return gain > found.price
