"""BatchNorm in train mode: in a graph, in a gradient that was made by it, and what its own parameters' gradients are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from . import own_norm
from .graph import Graph, Layer, Node, Opaque, Sum
from .own_norm import OwnNorm

INVARIANT = 1e-3
"""Cosine of a layer's weights and their gradient below which the loss does not change with the weights' size."""


def in_train_mode(graph: Graph, model: nn.Module) -> Graph:
    """The graph with every BatchNorm of maps normalizing by the batch that passes; other BatchNorm is not followed.

    Args:
        model: that was traced.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    modules = dict(model.named_modules())

    def changed(node: Node) -> Node:
        module, where = modules.get(node.operation.where), node.operation.where
        if not isinstance(module, nn.modules.batchnorm._BatchNorm):
            return node
        norm = own_norm.of_module(module, where, names, torch.empty(1, *node.shape, dtype=graph.dtype))
        return replace(node, operation=norm or Opaque(apply=node.operation.apply, where=where))

    nodes = {name: changed(node) for name, node in graph.nodes.items()}
    return Graph(nodes=nodes, input=graph.input, output=graph.output, dtype=graph.dtype)


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
        if sent is None or not any(isinstance(norm, OwnNorm) and norm.batch for norm in above):
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
    if isinstance(node.operation, OwnNorm):
        found = gradient.get(node.operation.bias_name or "")
        return found if found is None or found.ndim == 1 else None
    branches = node.inputs if isinstance(node.operation, Sum) else ()
    sums = (shift_sums(graph, gradient, below) for below in branches)
    return next((value for value in sums if value is not None), None)
