"""Derivatives behind a global mean for one example where the last convolution has no shifts (1x1), but one below it has.

With d = share^T (p - y) known from the head, delta[c, p] = d[c] slope[c, p]. The inner convolution's own gradient gives its
input up to one factor, u = k u'; then a(k) = relu(k A u' + b), and the outer layer's gradient is linear in its derivatives:
dW = Q^T a, hence Q. The factor follows from the row space of dW, which a(k) spans, or, where b = 0 leaves it open, from
the levels d that Q must have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from .equations import from_channels, input_matrix, matrix, right_side
from .graph import Activation, Graph, Layer, Node
from .least_squares import solve
from .routing import delta_maps
from .top import branches, find_mean

TOLD = 0.95
"""Part of the derivatives, by their squares, that must be near one of their two levels."""


def told(graph: Graph, gradient: Mapping[str, Tensor]) -> set[str]:
    """The tensor whose derivatives `derivatives` may tell, by its layers' widths; none otherwise."""
    mean = find_mean(graph)
    if isinstance(mean, str):
        return set()
    below, area = mean.activation.inputs[0], mean.activation.shape[1] * mean.activation.shape[2]
    pairs = ((_layer(inner), _layer(outer)) for outer, _, inner in _pairs(graph, below))
    wide = any({i.weight_name, o.weight_name} <= set(gradient) and area <= min(i.weight.shape[:2]) for i, o in pairs)
    return {below} if wide else set()


def derivatives(graph: Graph, gradient: Mapping[str, Tensor], residues: Tensor) -> tuple[str, Tensor] | str:
    """Derivatives by the last activation's input [1, channels, height, width] and that tensor, or why they stay unknown.

    Args:
        residues: p - y [1, classes].
    """
    mean = find_mean(graph)
    if isinstance(mean, str):
        return mean
    below = mean.activation.inputs[0]
    area = mean.activation.shape[1] * mean.activation.shape[2]
    reason = f"no convolution with shift structure stands in or behind the layers that end in {mean.activation.operation.where}"
    expected = (residues @ mean.share)[0]
    assert isinstance(mean.activation.operation, Activation)
    low = float(mean.activation.operation.slope(expected.new_tensor(-1.0)))
    for outer, scale, inner in _pairs(graph, below):
        if not {_layer(inner).weight_name, _layer(outer).weight_name} <= set(gradient):
            continue
        if area > min(_layer(inner).weight.shape[:2]):
            reason = f"{inner.operation.where} has too few channels for {area} positions"
            continue
        slopes = _slopes(graph, gradient, outer, inner, expected * scale, low)
        if slopes is not None:
            return below, expected[:, None, None] * slopes
        reason = f"the gradients of {inner.operation.where} and {outer.operation.where} do not agree on one example"
    return reason


def _pairs(graph: Graph, below: str) -> Iterator[tuple[Node, Tensor, Node]]:
    """1x1 convolutions that end in this tensor, with their scale, and those with shift structure in front of them."""
    for outer, scale in branches(graph, below):
        layer, activation = _layer(outer), graph.nodes[outer.inputs[0]]
        plain = layer.groups == 1 and outer.shape[1:] == activation.shape[1:] and layer.weight[0, 0].numel() == 1
        if plain and isinstance(activation.operation, Activation) and activation.operation.kinked:
            for inner, _ in branches(graph, activation.inputs[0]):
                if _layer(inner).shifts():
                    yield outer, scale, inner


def _slopes(
    graph: Graph, gradient: Mapping[str, Tensor], outer: Node, inner: Node, expected: Tensor, low: float
) -> Tensor | None:
    """The last activation's slopes [1, channels, height, width]; None if no answer fits.

    Args:
        expected: derivatives by active positions of the outer layer's output [channels]; low: slope of inactive ones.
    """
    activation, start = graph.nodes[outer.inputs[0]], inner.inputs[0]
    u, live = _input(_layer(inner), gradient, inner.shape, graph.nodes[start].shape)
    shift = graph.forward(torch.zeros_like(u), activation.inputs[0], start=start)
    z = graph.forward(u, activation.inputs[0], start=start) - shift
    weight = gradient[_layer(outer).weight_name].flatten(1)
    span = torch.linalg.eigh(weight.T @ weight).eigenvectors[:, -live[0, 0].numel() :]
    off, rest = (part - part @ span @ span.T for part in ((live * t)[0].flatten(1).T for t in (z, shift)))
    factor = -(off * rest).sum() / off.square().sum()
    told = float((factor * off + rest).norm()) < 0.1 * float(rest.norm())
    factor = factor if told else z.new_ones(())
    value = activation.operation.apply(factor * z + shift)
    answer = solve(input_matrix(_layer(outer), value)[0], weight.T).x.T / expected[:, None]
    strong = expected.abs() > expected.abs().median()
    answer = answer / answer[strong].amax(1).median()  # 1 where the factor is right, the factor where b leaves it open
    slopes = torch.where(answer > 0.5 * (1 + low), 1.0, low).to(answer)
    fits = (answer - slopes).abs() < 0.1
    sure = (expected.square()[:, None] * fits).sum() / (expected.square().sum() * fits.shape[1])
    return slopes.reshape(1, -1, *outer.shape[1:]) if float(sure) > TOLD else None


def _input(
    layer: Layer, gradient: Mapping[str, Tensor], out: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """The layer's input up to a positive factor [1, *shape], and where its derivatives are not zero [1, *out]."""
    weight = gradient[layer.weight_name]
    delta = delta_maps(weight, (out[1], out[2]))[None]
    size = delta.abs().amax((2, 3), keepdim=True).clamp_min(1e-300)
    design = matrix(layer, delta / size, shape)[0]
    right = right_side(layer, weight / size[0, :, :, :, None].reshape(-1, 1, 1, 1))[0]
    value = from_channels(layer, solve(design, right).x[None], shape)
    return value * value.sum().sign(), delta.abs() > 1e-3 * size


def _layer(node: Node) -> Layer:
    assert isinstance(node.operation, Layer)
    return node.operation
