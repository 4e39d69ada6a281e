"""Noise in a gradient as the recursion sees it: the variance of every entry beyond a float32 client's rounding.

An [m, n] matrix of independent errors with deviation s has no singular value above about s (sqrt m + sqrt n).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from .graph import Layer

Noise = Mapping[str, Tensor]
"""Variances by parameter name, in the gradient's shapes; parameters without noise may be left out."""

NONE: Noise = MappingProxyType({})


def row_variance(noise: Noise, layer: Layer) -> Tensor:
    """Mean variance of the weight gradient's entries, by output channel [out]."""
    variance = noise.get(layer.weight_name)
    return (
        layer.weight.new_zeros(len(layer.weight)) if variance is None else variance.to(layer.weight).flatten(1).mean(1)
    )


def edge(variance: Tensor, columns: int) -> float:
    """Largest singular value that errors alone give a matrix with these variances of its rows [m], and so many columns."""
    return float(variance.mean().sqrt()) * (len(variance) ** 0.5 + columns**0.5)


def relative(gradient: Mapping[str, Tensor], noise: Noise) -> float:
    """Expected error of the whole gradient relative to its norm."""
    size = sum(float(value.double().square().sum()) for value in gradient.values())
    error = sum(float(noise[name].double().sum()) for name in gradient if name in noise)
    return (error / max(size, 1e-300)) ** 0.5 if torch.isfinite(torch.tensor(error)) else float("inf")


def total(one: Noise, other: Noise) -> Noise:
    """Of both together, being independent."""
    return {name: torch.stack([n[name] for n in (one, other) if name in n]).sum(0) for name in {**one, **other}}
