"""Max pooling whose windows take from all their entries, softly: descents see places that a hard maximum hides from them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .graph import MaxPool

REACH = 30.0
"""Exponents end here: smaller numbers change nothing, and subnormal ones are slow."""


def pooled(pool: MaxPool, z: Tensor, t: float) -> Tensor:
    """What the windows take [n, channels, windows]: the mean of their entries weighted by softmax(z / t)."""
    entries = _entries(pool, z)
    return (_shares(entries, pool.members((z.shape[2], z.shape[3])), t) * entries).sum(2)


def shared(pool: MaxPool, delta: Tensor, z: Tensor, t: Tensor) -> Tensor:
    """Derivatives by the pooling's input, each window's shared among its entries."""
    members = pool.members((z.shape[2], z.shape[3]))
    shares = delta.flatten(2)[:, :, None] * _shares(_entries(pool, z), members, t)
    below = z.new_zeros(*z.shape[:2], z.shape[2] * z.shape[3] + 1)
    below = below.index_add(2, members.flatten() % below.shape[2], shares.flatten(2))
    return below[..., :-1].reshape(z.shape)


def _entries(pool: MaxPool, z: Tensor) -> Tensor:
    """[n, channels, entries of a window, windows], 0 in the padding."""
    windows = F.unfold(z.flatten(0, 1)[:, None], pool.kernel, pool.dilation, pool.padding, pool.stride)
    return windows.unflatten(0, z.shape[:2])


def _shares(entries: Tensor, members: Tensor, t: Tensor | float) -> Tensor:
    """How much each entry counts in its window; nothing in the padding."""
    real = entries.masked_fill(members < 0, -torch.inf)
    return torch.softmax(((real - real.detach().amax(2, keepdim=True)) / t).clamp_min(-REACH), 2)
