"""Max pooling whose windows take from all their entries, softly: descents see places that a hard maximum hides from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .graph import MaxPool, Node

REACH = 30.0
"""Exponents end here: smaller numbers change nothing, and subnormal ones are slow."""


def forward(nodes: Sequence[Node], values: dict[str, Tensor], soft: Mapping[str, float]) -> dict[str, Tensor]:
    """The values, and those that these nodes make of them in order; poolings with a softness take from all entries."""
    for node in nodes:
        if node.name not in values:
            operation, inputs = node.operation, [values[name] for name in node.inputs]
            softness = soft.get(node.name)
            if isinstance(operation, MaxPool) and softness:
                values[node.name] = pooled(operation, inputs[0], softness).reshape(-1, *node.shape)
            else:
                values[node.name] = operation.apply(*inputs)
    return values


def entries(pool: MaxPool, z: Tensor) -> Tensor:
    """What the windows take from [n, channels, entries of a window, windows], -inf in the padding."""
    windows = F.unfold(z.flatten(0, 1)[:, None], pool.kernel, pool.dilation, pool.padding, pool.stride)
    return windows.unflatten(0, z.shape[:2]).masked_fill(pool.members((z.shape[2], z.shape[3])) < 0, -torch.inf)


def pooled(pool: MaxPool, z: Tensor, t: float) -> Tensor:
    """What the windows take [n, channels, windows]: the mean of their entries weighted by softmax(z / t)."""
    inside = entries(pool, z)
    return (_shares(inside, t) * inside.nan_to_num(neginf=0.0)).sum(2)


def shared(pool: MaxPool, delta: Tensor, z: Tensor, t: Tensor) -> Tensor:
    """Derivatives by the pooling's input, each window's shared among its entries."""
    members = pool.members((z.shape[2], z.shape[3]))
    shares = delta.flatten(2)[:, :, None] * _shares(entries(pool, z), t)
    below = z.new_zeros(*z.shape[:2], z.shape[2] * z.shape[3] + 1)
    below = below.index_add(2, members.flatten() % below.shape[2], shares.flatten(2))
    return below[..., :-1].reshape(z.shape)


def _shares(inside: Tensor, t: Tensor | float) -> Tensor:
    """How much each entry counts in its window; next to nothing in the padding."""
    return torch.softmax(((inside - inside.detach().amax(2, keepdim=True)) / t).clamp_min(-REACH), 2)
