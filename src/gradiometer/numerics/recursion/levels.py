"""The pictures' common scale to all digits, from the whole numbers that files hold.

A picture that is known up to a factor near 1 is one of s x; pixels are multiples of 1/255. At the right factor all of
them are so at once; at a wrong one they lie anywhere between two levels, 0.29 of a level from the next in root mean square.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradiometer.core import Field

LEVELS = 255
NEAR = 0.1
"""Root mean square distance from the next level, in levels, up to which the pictures lie on them."""
CERTAIN = 0.4
"""Distance from the nearest level, in levels, up to which a pixel is taken to be on it."""
WIDE, LEAST = 6.0, 0.02
"""Standard errors of the factor to either side that are searched, and the least part of it."""
FINE = 0.05
"""Levels that the brightest pixel moves between two factors that are tried."""
MOST = 20_000
"""Factors that are tried, at most."""


def on_levels(x: Tensor, error: float, field: Field) -> tuple[Tensor, float]:
    """The pictures at the factor that brings their pixels to levels, and its relative error; both as given if none does.

    Args:
        x: [n, *shape], normalized; error: relative standard error of their common scale.
        field: theirs.
    """
    unit = _unit(field)
    brightest = float((field.denormalize(x) - field.denormalize(0 * x)).abs().max()) * unit
    reach = max(WIDE * error, LEAST)
    if not 0 < reach * brightest < MOST * FINE / 2:
        return x, error
    wide = x.double()

    def levels(factor: float) -> Tensor:
        return _levels(factor * wide, field)

    def distance(factor: float) -> float:
        found = levels(factor)
        return float((found - found.round()).square().mean().sqrt())

    count = 2 * int(reach * brightest / FINE) + 1
    tried = (1 + reach * torch.linspace(-1, 1, count, dtype=torch.float64)).tolist()
    good = [factor for factor in tried if distance(factor) < NEAR]
    if not good or (good[-1] - good[0]) * brightest > 1:  # none, or several: a picture of few levels
        return x, error
    factor = min(good, key=distance)
    whole = rounded(factor * wide, field)
    factor = float((wide * whole).sum() / wide.square().sum())
    left = (factor * wide - whole).square().mean() / whole.square().sum()
    return (factor * wide).to(x.dtype), float(left.sqrt())


def rounded(x: Tensor, field: Field) -> Tensor:
    """The pictures with every pixel at its nearest level; as given where the field holds no pixels."""
    unit = _unit(field)
    return field.normalize(_levels(x, field).round() / unit + field.low) if unit else x


def doubtful(x: Tensor, field: Field) -> list[tuple[int, float]]:
    """Pixels far from any level, the farthest first: the index in the flattened pictures, and the value at the next but nearest level.

    Where a direction is open pixels lie anywhere between two levels, and one in five is among these.
    """
    unit = _unit(field)
    if not unit:
        return []
    found = _levels(x, field)
    rest = found - found.round()
    others = field.normalize((found.round() + rest.sign()) / unit + field.low).flatten()
    far, index = rest.abs().flatten().sort(descending=True)
    return [(int(k), float(others[k])) for k in index[far > CERTAIN]]


def _unit(field: Field) -> float:
    return LEVELS / (field.high - field.low) if field.kind == "pixels" else 0.0


def _levels(x: Tensor, field: Field) -> Tensor:
    return (field.denormalize(x) - field.low) * _unit(field)
