"""A few hundred figures that describe an update of any size, for classifiers that learn from simulated updates."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gradiometer.core import Values


def pooled_features(values: Values, most: int) -> Tensor:
    """What a classifier is told of an update, free of its length: [features], float64.

    Of every tensor of `v / ||v||` its norm, and over at most `most` runs of neighboring entries the greatest magnitude
    and the mean. Noise averages out in means; a few large entries stand out in maxima.

    References:
        Melis, Song, De Cristofaro, Shmatikov, "Exploiting Unintended Feature Leakage in Collaborative Learning", 2019,
        arXiv:1805.04049, for max-pooling.
    """
    flat = [value.detach().double().flatten() for value in values.values()]
    whole = torch.cat(flat).norm().clamp_min(torch.finfo(torch.float64).tiny)
    parts = [torch.stack([value.norm() for value in flat]) / whole]
    for value in flat:
        scaled, runs = value[None, None] / whole, min(most, len(value))
        parts += [F.adaptive_max_pool1d(scaled.abs(), runs)[0, 0], F.adaptive_avg_pool1d(scaled, runs)[0, 0]]
    return torch.cat(parts)
