"""What a layer's own weight gradient says about its input, once its delta is known: linear equations, position by position.

    dL/dW[o, i, k] = sum_{b, p} delta[b, o, p] u[b, i, p s + k d - padding]

For every input channel i these are the same equations in the unknown u[., i, .], whose matrix is made of delta alone.
A convolution that reads every pixel once is a dense layer: its positions are patches, and their pixels are its channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from .graph import Layer


def taps(layer: Layer, shape: tuple[int, ...]) -> Tensor:
    """Which input position each output position reads at each kernel offset: [kernel, positions out], -1 is padding.

    Args:
        shape: of the layer's input, one example.
    """
    if layer.dense or layer.patchwise:
        return torch.arange(positions(layer, shape))[None]
    _, height, width = shape
    up, left = layer.padding
    index = torch.arange(1.0, height * width + 1, dtype=torch.float64).reshape(1, 1, height, width)
    padded = F.pad(index, (left, left, up, up))
    kernel = layer.weight.shape[2:]
    found = F.unfold(padded, tuple(kernel), dilation=layer.dilation, stride=layer.stride)
    return found[0].long() - 1


def positions(layer: Layer, shape: tuple[int, ...]) -> int:
    """Places of one example's input: pixels or patches of a map, or rows of a dense layer's input."""
    if layer.patchwise:
        return math.prod(size // step for size, step in zip(shape[1:], layer.stride))
    return math.prod(shape[:-1] if layer.dense else shape[1:])


def matrix(layer: Layer, delta: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The equations' matrix [groups, out / groups * kernel, examples * positions].

    Args:
        delta: derivatives by the layer's output [n, *output shape].
        shape: of the layer's input, one example.
    """
    delta = _rows(layer, delta)
    n, out, _ = delta.shape
    where, count = taps(layer, shape), positions(layer, shape)
    design = delta.new_zeros(out, len(where), n, count + 1)
    for k, at in enumerate(where):
        design[:, k].index_add_(2, at % (count + 1), delta.transpose(0, 1))  # -1 falls into the last, dropped place
    return design[..., :count].reshape(layer.groups, -1, n * count)


def right_side(layer: Layer, gradient: Tensor) -> Tensor:
    """The equations' right sides [groups, out / groups * kernel, in / groups]."""
    if layer.patchwise:
        return gradient.flatten(1)[None]
    flat = gradient.reshape(*gradient.shape[:2], -1).transpose(1, 2)
    return flat.reshape(layer.groups, -1, gradient.shape[1])


def to_channels(layer: Layer, value: Tensor) -> Tensor:
    """From the layer's input [n, *shape] to unknowns [groups, examples * positions, in / groups]."""
    rows = _inputs(layer, value)
    n, _, count = rows.shape
    return rows.reshape(n, layer.groups, -1, count).permute(1, 0, 3, 2).reshape(layer.groups, n * count, -1)


def from_channels(layer: Layer, solution: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The inverse of `to_channels`."""
    count = positions(layer, shape)
    groups, rows, channels = solution.shape
    value = (
        solution.reshape(groups, rows // count, count, channels).permute(1, 0, 3, 2).reshape(rows // count, -1, count)
    )
    if layer.patchwise:
        return F.fold(value, shape[1:], layer.stride, stride=layer.stride)
    return value.transpose(1, 2).reshape(-1, *shape) if layer.dense else value.reshape(-1, *shape)


def input_matrix(layer: Layer, value: Tensor) -> Tensor:
    """The same equations read the other way: their matrix in delta, given the layer's input.

    Returns:
        [groups, in / groups * kernel, examples * output positions]; right sides are the gradient's rows, flattened.
    """
    where = taps(layer, tuple(value.shape[1:]))
    rows = _inputs(layer, value)
    picked = torch.cat([rows, rows.new_zeros(*rows.shape[:2], 1)], 2)[:, :, where]
    return picked.permute(1, 2, 0, 3).reshape(layer.groups, -1, len(rows) * where.shape[1])


def _inputs(layer: Layer, value: Tensor) -> Tensor:
    """[n, channels, positions] of an input."""
    return F.unfold(value, layer.stride, stride=layer.stride) if layer.patchwise else _rows(layer, value)


def _rows(layer: Layer, value: Tensor) -> Tensor:
    """[n, channels, positions] of an output."""
    if layer.dense:
        return value.reshape(len(value), -1, value.shape[-1]).transpose(1, 2)
    return value.flatten(2)
