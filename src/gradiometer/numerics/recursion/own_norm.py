"""Normalization by the statistics of what passes: forward, backward, and how its backward pass changes with its input.

With z of n entries that are normalized together, d the derivatives by the output y = gamma z^ + beta, g = gamma d:

    z^ = (z - mean z) / sigma,    sigma^2 = mean (z - mean z)^2 + eps
    delta = (g - mean g - z^ mean(g z^)) / sigma

so delta sums to zero, and to (almost) zero with weight z^: what a common scale and offset of these entries say is hidden.
BatchNorm in train mode takes a channel of the whole batch together, GroupNorm some channels of one example, LayerNorm
the last dimensions of one position or example.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .graph import Graph, Opaque

Average = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnNorm(Opaque):
    """Normalization by the input's own statistics: derivatives go back through it only with the input at hand.

    Args:
        gamma, beta: in a shape that broadcasts to one example; weight_name, bias_name: theirs.
        eps: added to the variance.
        average: the mean over the entries that are normalized together, in a shape that broadcasts to them.
        batch: whether examples are normalized together; alone: whether each channel is normalized by itself.
    """

    gamma: Tensor
    beta: Tensor
    weight_name: str | None
    bias_name: str | None
    eps: float
    average: Average
    batch: bool = False
    alone: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class At:
    """A normalization at one input [n, ...].

    Args:
        normal: z^; sigma: in a shape that broadcasts to it.
    """

    norm: OwnNorm
    normal: Tensor
    sigma: Tensor

    @classmethod
    def of(cls, norm: OwnNorm, z: Tensor) -> At:
        """The statistics of `z`."""
        centered = z - norm.average(z)
        sigma = (norm.average(centered.square()) + norm.eps).sqrt()
        return cls(norm=norm, normal=centered / sigma, sigma=sigma)

    @property
    def output(self) -> Tensor:
        """gamma z^ + beta."""
        return self.norm.gamma * self.normal + self.norm.beta

    def tangent(self, change: Tensor) -> Tensor:
        """How z^ follows a small change of z; its own transpose."""
        mean = self.norm.average
        return (change - mean(change) - self.normal * mean(self.normal * change)) / self.sigma

    def pull(self, d: Tensor) -> Tensor:
        """Derivatives by z, given those by the output."""
        return self.tangent(self.norm.gamma * d)

    def bend(self, d: Tensor, change: Tensor) -> Tensor:
        """How `pull(d)` follows a small change of z; its own transpose."""
        mean, g = self.norm.average, self.norm.gamma * d
        moved = self.tangent(change)
        growth = mean(self.normal * change) / self.sigma
        turned = moved * mean(g * self.normal) + self.normal * mean(g * moved)
        return -growth * self.tangent(g) - turned / self.sigma


def own_norms(graph: Graph) -> list[OwnNorm]:
    """All of a graph, the input's side first."""
    return [node.operation for node in graph.nodes.values() if isinstance(node.operation, OwnNorm)]


def of_module(module: nn.Module, where: str, names: Mapping[int, str], value: Tensor) -> OwnNorm | None:
    """The normalization that this module does, or None. BatchNorm is taken as in train mode.

    Args:
        names: of parameters by their ids; value: its output, for its shape and type.
    """
    channels = (-1, *[1] * (value.ndim - 2))
    if isinstance(module, nn.BatchNorm2d):
        return _norm(module, where, names, value, channels, _over_batch, batch=True, alone=True)
    if isinstance(module, nn.GroupNorm):
        alone = module.num_groups == module.num_channels
        return _norm(module, where, names, value, channels, lambda z: _over_groups(z, module.num_groups), alone=alone)
    if isinstance(module, nn.LayerNorm):
        shape = tuple(module.normalized_shape)
        last = tuple(range(-len(shape), 0))
        return _norm(module, where, names, value, shape, lambda z: z.mean(last, keepdim=True))
    return None


def _over_batch(z: Tensor) -> Tensor:
    return z.mean((0, 2, 3), keepdim=True)


def _over_groups(z: Tensor, groups: int) -> Tensor:
    means = z.reshape(len(z), groups, -1).mean(2).repeat_interleave(z.shape[1] // groups, 1)
    return means.reshape(*means.shape, *[1] * (z.ndim - 2))


def _norm(
    module: nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm,
    where: str,
    names: Mapping[int, str],
    value: Tensor,
    shape: tuple[int, ...],
    average: Average,
    *,
    batch: bool = False,
    alone: bool = False,
) -> OwnNorm:
    weight, bias, one = module.weight, module.bias, torch.ones((), dtype=value.dtype)
    norm = OwnNorm(
        apply=lambda z: At.of(norm, z).output,
        where=where,
        gamma=one if weight is None else weight.detach().to(value.dtype).reshape(shape),
        beta=0 * one if bias is None else bias.detach().to(value.dtype).reshape(shape),
        weight_name=names.get(id(weight)),
        bias_name=names.get(id(bias)),
        eps=module.eps,
        average=average,
        batch=batch,
        alone=alone,
    )
    return norm
