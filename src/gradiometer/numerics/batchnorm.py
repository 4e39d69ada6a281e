"""Batch statistics of normalization layers, and what the buffers that a client sends tell of them.

BatchNorm in train mode keeps running averages r <- (1 - m) r + m s of the statistics s of every batch that it sees. From
the buffers before and after a round the average of the statistics follows exactly,

    s* = (r_after - q r_before) / (1 - q),    q = product over the calls of (1 - m),

which for a single call is the batch's mean and unbiased variance itself. For several calls it is the average with weights
m_j prod_{l>j} (1 - m_l) / (1 - q), and simulated statistics must be averaged with the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

_NORMALIZATIONS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm, _InstanceNorm)


@dataclass(frozen=True, kw_only=True, eq=False)
class Statistics:
    """Mean and unbiased variance of a layer's input: a channel each [channels], or of one example on average []."""

    mean: Tensor
    variance: Tensor


def normalizations(model: nn.Module, *, running: bool) -> dict[str, Any]:
    """The normalization layers by name; with `running` only BatchNorm that keeps running averages."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, _NORMALIZATIONS)}
    if running:
        layers = {n: m for n, m in layers.items() if isinstance(m, _BatchNorm) and m.running_mean is not None}
    return layers


def input_statistics(module: nn.Module, value: Tensor) -> Statistics:
    """Of one call: a channel each, over batch and space, for BatchNorm; elsewhere the examples' own, averaged.

    Args:
        value: the layer's input, [n, channels, ...] for BatchNorm and [n, ...] elsewhere.
    """
    if isinstance(module, _BatchNorm):
        value = value.transpose(0, 1)
    # A single number has no unbiased variance: it says 0.
    flat = value.flatten(1)
    variance, mean = torch.var_mean(flat, dim=1, correction=min(1, flat.shape[1] - 1))
    if isinstance(module, _BatchNorm):
        return Statistics(mean=mean, variance=variance)
    return Statistics(mean=mean.mean(), variance=variance.mean())


def call_weights(module: Any, calls: int) -> list[float]:
    """The weight of each of the next `calls` batches in the layer's running average after all of them.

    What is missing to 1 is the weight q of what was there before. A layer without momentum keeps a plain average.
    """
    if module.momentum is None:
        seen = int(module.num_batches_tracked)
        momenta = [1 / (seen + call) for call in range(1, calls + 1)]
    else:
        momenta = [float(module.momentum)] * calls
    weights, rest = [], 1.0
    for momentum in reversed(momenta):
        weights.append(rest * momentum)
        rest *= 1 - momentum
    return weights[::-1]


def averaged(records: Sequence[Statistics], weights: Sequence[float]) -> Statistics:
    """Weighted mean of statistics; the weights are brought to sum 1."""
    shares = torch.tensor(weights, dtype=records[0].mean.dtype, device=records[0].mean.device) / sum(weights)
    return Statistics(
        mean=torch.stack([record.mean for record in records], -1) @ shares,
        variance=torch.stack([record.variance for record in records], -1) @ shares,
    )


def sent_statistics(name: str, module: Any, after: Mapping[str, Tensor], calls: int) -> Statistics:
    """What the buffers after the round tell of the batches in between, averaged with `call_weights`.

    Args:
        name, module: the layer as it was before the round.
        after: the client's buffers after it, by full name.
        calls: how often the layer was called in between.

    Returns:
        Mean and unbiased variance, [channels] each.
    """
    new = sum(call_weights(module, calls))
    mean, variance = (
        (after[f"{name}.{kind}"] - (1 - new) * getattr(module, kind)) / new for kind in ("running_mean", "running_var")
    )
    return Statistics(mean=mean, variance=variance)
