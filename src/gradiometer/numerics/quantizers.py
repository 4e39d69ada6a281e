"""Quantizers: pure maps from real values to few levels, and the levels read back off quantized values."""

from __future__ import annotations

import torch
from torch import Tensor

from gradiometer.core import Values


def value_range(values: Values) -> tuple[Tensor, Tensor]:
    """Least and greatest entry over all tensors."""
    low = torch.stack([value.min() for value in values.values()]).min()
    high = torch.stack([value.max() for value in values.values()]).max()
    return low, high


def global_uniform(values: Values, bits: int) -> dict[str, Tensor]:
    """One grid for all tensors: w = (max - min) / 2^bits, q = round((v - min) / w) w + min.

    Both ends are levels, so the grid has 2^bits + 1 of them, and zero is in general none.
    """
    low, high = value_range(values)
    step = (high - low) / 2**bits
    if step == 0:
        return dict(values)
    return {name: ((value - low) / step).round() * step + low for name, value in values.items()}


def symmetric_uniform(value: Tensor, bits: int) -> Tensor:
    """One grid a tensor, symmetric about zero: s = max|v|, L = 2^(bits-1) - 1, q = round(v L / s) s / L."""
    peak = value.abs().max()
    if peak == 0:
        return value
    step = peak / (2 ** (bits - 1) - 1)
    return (value / step).round() * step


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
