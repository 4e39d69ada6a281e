"""A second look at a channel whose derivatives are in doubt, through the weight gradient of the layer that they enter.

Once a layer's input u is known from its other output channels, channel c's own weight gradient is linear in the few
units that may have the other slope: dW[c] - corr(u, delta[c]) = sum_j a_j change_j patch_j(u) with a_j in {0, 1}. Least
squares finds those that matter; likelihood the rest, which hardly show in a row but would spoil scarce equations below.
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
CAUTION, MOST = 2.0, 64
"""How many times the expected error the likelihood assumes, and how many units it changes its mind about."""
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
    every = effects(patches, torch.arange(patches.shape[1]))
    unit = every.square().mean(0).sqrt()
    enough = max(6 * error, SMALL * float(unit.median()))
    for count in (*FEW, len(rest) // 2, len(rest)):
        near = found.near(channel, min(count, len(rest)))
        near = near[found.price[channel, near].isfinite()]
        near = near[unit[near] > 3 * error]
        if len(near):
            near = near[fit(every[:, near], rest) > 0.5]
        left = rest - every[:, near].sum(1)
        if float(left.square().mean().sqrt()) <= enough:
            return _likeliest(every, left, near, found.price[channel], error)
    return None


def _likeliest(effects: Tensor, left: Tensor, chosen: Tensor, price: Tensor, error: float) -> Tensor:
    """The chosen units, changed one at a time as long as that makes their values and the gradient together likelier.

    Every row is evidence: a unit that changes each of a thousand rows by a fifth of its error is plain to see.

    Args:
        effects: of flipping each unit [rows, units]; left: what the chosen ones leave unexplained [rows].
        price: of taking the other slope [units], in log-likelihood.
    """
    flipped = torch.zeros_like(price, dtype=torch.bool)
    flipped[chosen] = True
    squares, spread = effects.square().sum(0), 2 * (CAUTION * max(error, 1e-300)) ** 2
    for _ in range(MOST):
        turn = 1.0 - 2.0 * flipped
        gain = (2 * turn * (effects.T @ left) - squares) / spread - turn * price
        best = int(gain.nan_to_num(-torch.inf).argmax())
        if not float(gain[best]) > 0:
            break
        left = left - turn[best] * effects[:, best]
        flipped[best] = ~flipped[best]
    return flipped.nonzero()[:, 0]


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
