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

from .graph import Graph, Layer, Node, Opaque, Operation, Sum

INVARIANT = 1e-3
"""Cosine of a layer's weights and their gradient below which the loss does not change with the weights' size."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchNorm(Operation):
    """Normalization by the batch's own statistics.

    Args:
        gamma, beta: [channels, 1, 1]; weight_name, bias_name: theirs.
        eps: added to the variance.
    """

    gamma: Tensor
    beta: Tensor
    weight_name: str | None
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
    """The graph with every BatchNorm of maps normalizing by the batch that passes; other BatchNorm is not followed.

    Args:
        model: that was traced.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    modules = dict(model.named_modules())

    def changed(node: Node) -> Node:
        module, where = modules.get(node.operation.where), node.operation.where
        if isinstance(module, nn.BatchNorm2d):
            return replace(node, operation=_norm(module, where, names, graph.dtype))
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            return replace(node, operation=Opaque(apply=node.operation.apply, where=where))
        return node

    nodes = {name: changed(node) for name, node in graph.nodes.items()}
    return Graph(nodes=nodes, input=graph.input, output=graph.output, dtype=graph.dtype)


def _norm(module: nn.BatchNorm2d, where: str, names: Mapping[int, str], dtype: torch.dtype) -> BatchNorm:
    ones = torch.ones(module.num_features, 1, 1, dtype=dtype)
    norm = BatchNorm(
        apply=lambda z: At.of(norm, z).output,
        where=where,
        gamma=ones if module.weight is None else module.weight.detach().to(dtype).reshape(-1, 1, 1),
        beta=0 * ones if module.bias is None else module.bias.detach().to(dtype).reshape(-1, 1, 1),
        weight_name=names.get(id(module.weight)),
        bias_name=names.get(id(module.bias)),
        eps=module.eps,
    )
    return norm


def normalizes_by_batch(graph: Graph, gradient: Mapping[str, Tensor]) -> bool:
    """Whether the client's BatchNorm took its own batch's statistics, as the gradient itself shows.

    Then the loss does not change with the size of the weights w in front of it, so w . dL/dw = 0 but for eps.
    """
    found = False
    for node in graph.layers():
        layer = node.operation
        assert isinstance(layer, Layer)
        above = [graph.nodes[name].operation for name in graph.consumers[node.name]]
        sent = gradient.get(layer.weight_name)
        if sent is None or not any(isinstance(norm, BatchNorm) for norm in above):
            continue
        weight = layer.weight.flatten(1)
        cosine = (weight * sent.flatten(1)).sum(1) / (weight.norm(dim=1) * sent.flatten(1).norm(dim=1)).clamp_min(
            1e-300
        )
        found = float(cosine.abs().median()) < INVARIANT
        if not found:
            break
    return found


def shift_sums(graph: Graph, gradient: Mapping[str, Tensor], name: str) -> Tensor | None:
    """The sums of derivatives by this tensor, a channel: the gradient of a beta that is added to it."""
    node = graph.nodes[name]
    if isinstance(node.operation, BatchNorm):
        return gradient.get(node.operation.bias_name or "")
    branches = node.inputs if isinstance(node.operation, Sum) else ()
    found = (shift_sums(graph, gradient, below) for below in branches)
    return next((value for value in found if value is not None), None)
