"""What the channels share: a weighted cosine, and sums over all tensors.

Every channel's distance is a cosine, which has a slope everywhere and does not care for scale, plus the defense's own
likelihood, which says what the cosine cannot. Both are relative, so that a simulation unrelated to what was sent lies in
the order of 1, as for the distances of uninformed attacks.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from gradiometer.core import Values

TINY = 1e-30


def total(parts: Iterable[Tensor]) -> Tensor:
    """Sum of scalars."""
    return torch.stack(list(parts)).sum()


def energy(values: Values) -> Tensor:
    """Sum of squares over all tensors, kept away from zero."""
    return total(value.square().sum() for value in values.values()).clamp_min(TINY)


def cosine_distance(simulated: Values, target: Values, weights: Values | None = None) -> Tensor:
    """1 - <s, t>_w / (||s||_w ||t||_w) over all tensors, with a weight an entry (broadcast)."""

    def inner(a: Values, b: Values) -> Tensor:
        return total((a[k] * b[k] * (1.0 if weights is None else weights[k])).sum() for k in target)

    lengths = [inner(values, values).clamp_min(TINY).sqrt() for values in (simulated, target)]
    return 1 - inner(simulated, target) / (lengths[0] * lengths[1])


def squared_gap(simulated: Values, target: Values) -> Tensor:
    """sum (s - t)^2 / sum t^2."""
    return total((simulated[k] - t).square().sum() for k, t in target.items()) / energy(target)


def outside(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Sum of the squared distances to [low, high]: zero within."""
    return ((low - value).relu().square() + (value - high).relu().square()).sum()
