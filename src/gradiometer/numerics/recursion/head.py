"""p - y of one example from the gradient of the linear head: its bias gradient, or without one from the softmax itself.

Without a bias `dW = r h^T` leaves the scale open: r = s a / t and h = t b for unit vectors a, b. The one negative entry of r is
the label's, and for the others `log r_i = log p_i = t (W b)_i + bias_i - const` is linear in t. Newton steps on

    softmax(t W b + bias) - y = s a / t

then use all classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gradiometer.core import NotApplicable

from .graph import Layer, Node
from .noise import NONE, Noise, edge, row_variance

STEPS = 30
STRUCTURED = 2.0
"""Rounding errors follow the rounded values, so that their largest singular value may exceed that of noise by this factor."""
ALONE = 1e-9
"""Square of the second singular value, relative to the first one's, up to which a float32 client's gradient is of rank one."""
AGREES = 1e-4
"""Relative error above which the equation of the softmax is not met."""


def single(head: Node, gradient: Mapping[str, Tensor], noise: Noise = NONE) -> Tensor | None:
    """p - y of a single example [1, classes]; None if the head's gradient is no product of two vectors.

    Raises:
        NotApplicable: the head is not trained, or nothing tells the scale.
    """
    layer = head.operation
    assert isinstance(layer, Layer)
    weight = gradient.get(layer.weight_name)
    if weight is None:
        raise NotApplicable(f"the update holds no gradient of the head {layer.where}", fix="choose another attack")
    floor = STRUCTURED * edge(row_variance(noise, layer), weight.shape[1])
    bias = gradient.get(layer.bias_name or "")
    if floor or not product(weight):
        values, vectors = torch.linalg.eigh(weight @ weight.T)
        if float(values[-2]) >= max(ALONE * float(values[-1]), floor**2):
            return None
        if floor and bias is not None:
            # Noise in the bias gradient is alike in all entries; the weight gradient's left singular vector averages its own.
            return (vectors[:, -1] * (vectors[:, -1] @ bias))[None]
    if bias is not None:
        return bias[None]
    found = by_softmax(layer, weight)
    if found is None:
        raise NotApplicable(
            f"the head {layer.where} sends no bias gradient, and its weight gradient fits no softmax's of one example",
            fix="choose another attack",
        )
    return found[None]


def product(matrix: Tensor) -> bool:
    """Whether nothing is left of a matrix, up to rounding, without what its largest column spans."""
    column = matrix[:, matrix.square().sum(0).argmax()]
    line = column / column.norm().clamp_min(1e-300)
    rest = matrix - torch.outer(line, line @ matrix)
    return float(rest.square().sum()) < ALONE * float(matrix.square().sum())


def by_softmax(layer: Layer, gradient: Tensor) -> Tensor | None:
    """r [classes] of a head without a bias gradient, for cross-entropy; None if no scale solves the equation.

    Args:
        layer: the head; gradient: of its weight [classes, features], of rank one.
    """
    left, sizes, right = torch.linalg.svd(gradient, full_matrices=False)
    a, size, b = left[:, 0], sizes[0], right[0]
    sign = -1.0 if int((a < 0).sum()) > int((a > 0).sum()) else 1.0
    a, b = sign * a, sign * b
    others = a > 0
    if len(a) < 3 or int((a < 0).sum()) != 1:
        return None
    y = (a < 0).to(a)
    slope = layer.weight @ b
    offset = torch.zeros_like(a) if layer.bias is None else layer.bias
    wanted, design = (a[others].log() - offset[others]), slope[others]
    wanted, design = wanted - wanted.mean(), design - design.mean()
    t = (design @ wanted) / (design @ design)
    for _ in range(STEPS):
        p = torch.softmax(t * slope + offset, 0)
        rest = p - y - size / t * a
        change = p * (slope - p @ slope) + size / t**2 * a
        t = t - (change @ rest) / (change @ change)
    r = size / t * a
    rest = torch.softmax(t * slope + offset, 0) - y - r
    return r if float(t) > 0 and float(rest.norm()) < AGREES * float(r.norm()) else None
