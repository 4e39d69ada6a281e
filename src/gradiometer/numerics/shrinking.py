"""Shrinking: clipping of lengths and entries, and sparsification. Differentiable where it is continuous."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from gradiometer.core import Values

Scope = Literal["tensor", "global"]


def length(values: Values) -> Tensor:
    """L2 norm over all entries of all tensors, kept just off zero, where the root has no slope."""
    return torch.stack([value.square().sum() for value in values.values()]).sum().clamp_min(1e-30).sqrt()


def clip_length(values: Values, bound: float) -> dict[str, Tensor]:
    """All tensors times min(1, bound / ||v||)."""
    factor = (bound / length(values)).clamp_max(1.0)
    return {name: value * factor for name, value in values.items()}


def clip_layers(values: Values, bound: float) -> dict[str, Tensor]:
    """Every tensor to length at most bound / sqrt(number of tensors), so that the whole is within `bound`."""
    share = bound / math.sqrt(len(values))
    return {name: clip_length({name: value}, share)[name] for name, value in values.items()}


def keep_largest(values: Values, keep: float, scope: Scope) -> dict[str, Tensor]:
    """Zeroes all but the entries of largest magnitude, a share `keep` of each tensor or of all together.

    At least one entry stays (of each tensor, or of all).
    """
    masks = largest(values, keep, scope)
    return {name: value * masks[name] for name, value in values.items()}


def largest(values: Values, share: float, scope: Scope) -> dict[str, Tensor]:
    """1 at the entries of largest magnitude, a share of each tensor or of all together but at least one, and 0 elsewhere."""
    if scope == "tensor":
        return {name: _largest(value.reshape(-1), share).reshape(value.shape) for name, value in values.items()}
    flat = torch.cat([value.reshape(-1) for value in values.values()])
    masks = _largest(flat, share).split([value.numel() for value in values.values()])
    return {name: mask.reshape(value.shape) for (name, value), mask in zip(values.items(), masks)}


def _largest(flat: Tensor, keep: float) -> Tensor:
    count = max(1, round(keep * flat.numel()))
    mask = torch.zeros_like(flat, requires_grad=False)
    mask[flat.detach().abs().topk(count).indices] = 1
    return mask
