"""Quantizers: pure maps from real values to few levels, and the levels read back off quantized values."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gradiometer.core import Values

Scheme = Literal["global", "symmetric", "channel"]
"""How far one grid reaches: over all tensors, one tensor, or one output channel of it."""


def value_range(values: Values) -> tuple[Tensor, Tensor]:
    """Least and greatest entry over all tensors."""
    low = torch.stack([value.min() for value in values.values()]).min()
    high = torch.stack([value.max() for value in values.values()]).max()
    return low, high


def grid_steps(values: Values, bits: int, scheme: Scheme) -> dict[str, Tensor]:
    """The step of a uniform grid of `bits` bits, a scalar a tensor, or [out, 1, ...] where every output channel has its own.

    `global`: (max - min) / 2^bits over all tensors. `symmetric`: max|v| / (2^(bits-1) - 1) of each tensor. `channel`: the same of
    each row of the first dimension; vectors, such as biases, are one row. The extremes are levels, and stay what they
    are: steps read off quantized values are those that they were quantized with.
    """
    if scheme == "global":
        low, high = value_range(values)
        return dict.fromkeys(values, (high - low) / 2**bits)
    levels = 2 ** (bits - 1) - 1
    return {name: _peak(value, scheme) / levels for name, value in values.items()}


def _peak(value: Tensor, scheme: Scheme) -> Tensor:
    if scheme == "symmetric" or value.ndim < 2:
        return value.abs().max()
    return value.abs().amax(tuple(range(1, value.ndim)), keepdim=True)


def uniform(values: Values, bits: int, scheme: Scheme, rng: torch.Generator | None = None) -> dict[str, Tensor]:
    """Every entry at a level of its grid: the nearest one, or with `rng` one of both neighbors, so that the mean is v.

    `global`: q = round((v - min) / w) w + min. Both ends are levels, so the grid has 2^bits + 1 of them, and zero is in
    general none. `symmetric`, `channel`: q = round(v / w) w; zero is a level.
    """
    steps = grid_steps(values, bits, scheme)
    low = value_range(values)[0] if scheme == "global" else None
    return {name: _at_levels(value, steps[name], low, rng) for name, value in values.items()}


def _at_levels(value: Tensor, step: Tensor, low: Tensor | None, rng: torch.Generator | None) -> Tensor:
    if low is not None and step == 0:
        return value
    scaled = torch.where(step > 0, (value if low is None else value - low) / step, 0.0)
    if rng is None:
        level = scaled.round()
    else:
        below = scaled.floor()
        level = below + (torch.rand(value.shape, generator=rng, dtype=value.dtype).to(value.device) < scaled - below)
    return level * step if low is None else level * step + low


def stochastic(value: Tensor, step: Tensor, rng: torch.Generator) -> Tensor:
    """Rounds |v| / step down or up at random, so that the mean is v; `step` is broadcast, a step of 0 gives 0.

    The variance of an entry is p (1 - p) step^2, with p the fractional part of |v| / step.
    """
    scaled = torch.where(step > 0, value.abs() / step, 0.0)
    below = scaled.floor()
    up = torch.rand(value.shape, generator=rng, dtype=value.dtype).to(value.device) < scaled - below
    return value.sign() * (below + up) * step


def in_buckets(value: Tensor, size: int | None) -> Tensor:
    """The entries in rows of `size` [rows, size], the last one filled up with zeros; None makes one row."""
    flat = value.reshape(1, -1)
    if size is None or size >= value.numel():
        return flat
    return torch.nn.functional.pad(flat, (0, -value.numel() % size)).reshape(-1, size)


def out_of_buckets(rows: Tensor, like: Tensor) -> Tensor:
    """Undoes `in_buckets`: the shape of `like`."""
    return rows.reshape(-1)[: like.numel()].reshape(like.shape)


def scaled_sign(value: Tensor) -> Tensor:
    """mean|v| where v >= 0 and -mean|v| elsewhere: one bit cannot say zero."""
    return torch.where(value >= 0, 1.0, -1.0).to(value.dtype) * value.abs().mean()
