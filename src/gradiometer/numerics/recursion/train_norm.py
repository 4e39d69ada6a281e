"""BatchNorm in train mode: forward, backward, and how its backward pass changes with its input.

With z of n entries a channel (examples and positions), d the derivatives by the output y = gamma z^ + beta:

    z^ = (z - mean z) / sigma,    sigma^2 = mean (z - mean z)^2 + eps
    delta = gamma / sigma (d - mean d - z^ mean(d z^))

so delta sums to zero, and to (almost) zero with weight z^: what a channel's scale and offset say is hidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from gradiometer.core import NotApplicable

from .graph import Graph, Node, Operation, Sum


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchNorm(Operation):
    """Normalization by the batch's own statistics.

    Args:
        gamma, beta: [channels, 1, 1]; bias_name: of beta.
        eps: added to the variance.
    """

    gamma: Tensor
    beta: Tensor
    bias_name: str | None
    eps: float


@dataclass(frozen=True, kw_only=True, eq=False)
class At:
    """BatchNorm at one input [n, channels, height, width].

    Args:
        normal: z^; sigma: [channels, 1, 1].
    """

    norm: BatchNorm
    normal: Tensor
    sigma: Tensor

    @classmethod
    def of(cls, norm: BatchNorm, z: Tensor) -> At:
        """The statistics of `z`."""
        centered = z - _mean(z)
        sigma = (_mean(centered.square()) + norm.eps).sqrt()
        return cls(norm=norm, normal=centered / sigma, sigma=sigma)

    @property
    def output(self) -> Tensor:
        """gamma z^ + beta."""
        return self.norm.gamma * self.normal + self.norm.beta

    def tangent(self, change: Tensor) -> Tensor:
        """How z^ follows a small change of z; its own transpose."""
        return (change - _mean(change) - self.normal * _mean(self.normal * change)) / self.sigma

    def pull(self, d: Tensor) -> Tensor:
        """Derivatives by z, given those by the output."""
        return self.norm.gamma * self.tangent(d)

    def bend(self, d: Tensor, change: Tensor) -> Tensor:
        """How `pull(d)` follows a small change of z; its own transpose."""
        moved = self.tangent(change)
        growth = _mean(self.normal * change) / self.sigma
        turned = moved * _mean(d * self.normal) + self.normal * _mean(d * moved)
        return -growth * self.pull(d) - self.norm.gamma / self.sigma * turned


def _mean(value: Tensor) -> Tensor:
    return value.mean((0, 2, 3), keepdim=True)


def in_train_mode(graph: Graph, model: nn.Module) -> Graph:
    """The graph with every BatchNorm normalizing by the batch that passes.

    Args:
        model: that was traced.

    Raises:
        NotApplicable: it normalizes something else than maps.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    modules = dict(model.named_modules())

    def changed(node: Node) -> Node:
        module = modules.get(node.operation.where)
        if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.InstanceNorm2d)):
            if not isinstance(module, nn.BatchNorm2d):
                raise NotApplicable(f"{type(module).__name__} {node.operation.where} is not followed in train mode")
            return replace(node, operation=_norm(module, node.operation.where, names.get(id(module.bias)), graph.dtype))
        return node

    nodes = {name: changed(node) for name, node in graph.nodes.items()}
    return Graph(nodes=nodes, input=graph.input, output=graph.output, dtype=graph.dtype)


def _norm(module: nn.BatchNorm2d, where: str, bias_name: str | None, dtype: torch.dtype) -> BatchNorm:
    ones = torch.ones(module.num_features, 1, 1, dtype=dtype)
    gamma = ones if module.weight is None else module.weight.detach().to(dtype).reshape(-1, 1, 1)
    beta = 0 * ones if module.bias is None else module.bias.detach().to(dtype).reshape(-1, 1, 1)
    norm = BatchNorm(
        apply=lambda z: At.of(norm, z).output, where=where, gamma=gamma, beta=beta, bias_name=bias_name, eps=module.eps
    )
    return norm


def shift_sums(graph: Graph, gradient: Mapping[str, Tensor], name: str) -> Tensor | None:
    """The sums of derivatives by this tensor, a channel: the gradient of a beta that is added to it."""
    node = graph.nodes[name]
    if isinstance(node.operation, BatchNorm):
        return gradient.get(node.operation.bias_name or "")
    branches = node.inputs if isinstance(node.operation, Sum) else ()
    found = (shift_sums(graph, gradient, below) for below in branches)
    return next((value for value in found if value is not None), None)
