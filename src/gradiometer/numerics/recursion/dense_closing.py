"""The equations of `closing` written out: for small tensors, where known outputs of very different weight stop conjugate gradients.

    N = sum_parts (S B) diag(strength) (S B)^T  +  sum_readings L^T W^2 L

with the bases B and scales S of what weight gradients determine, the layers L that read the tensor, and the weights W of their
known outputs. Saturated activations tell their inputs thousands of times worse than others, and the condition of N is the
square of that; Cholesky's factors do not mind, and refinement against the equations themselves restores the digits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .components import Components
from .graph import Layer
from .least_squares import TRUST

LARGEST = 4096
"""Unknowns above which the factors take too long."""
REFINEMENTS = 3


def written_out(
    layer: Layer,
    shape: tuple[int, ...],
    pieces: Components,
    rows: Tensor,
    wanted: Tensor,
    readings: Sequence[tuple[Layer | None, Tensor, Tensor]],
) -> tuple[Tensor, Tensor, float] | None:
    """The tensor [n, *shape] that meets all equations best, its deviation, and the sum of squares that is left of them.

    None if they leave a direction open.

    Args:
        layer: one reader, for the layout of unknowns; shape: of the tensor, one example.
        rows: equations of every part for one channel, each divided by its expected error [parts, equations, unknowns].
        wanted: their right sides [parts, equations, channels].
        readings: layers (None: the tensor itself), the reciprocal errors of their known outputs [n, ...], and these outputs.
    """
    (parts, _, unknowns), channels, n = rows.shape, wanted.shape[2], len(readings[0][1])
    count = parts * unknowns * channels
    x = rows.new_zeros(parts, unknowns, channels)
    places = pieces.places(layer, shape, x)
    order = places.argsort()
    unit = torch.eye(count // n, dtype=rows.dtype).reshape(-1, *shape)
    blocks = [
        torch.stack(
            [_pulled(reader, weight[i].square() * _read(reader, unit), shape) for reader, weight, _ in readings]
        )
        for i in range(n)
    ]
    normal = torch.block_diag(*(block.sum(0).flatten(1) for block in blocks))[order][:, order]
    squares = normal.view(parts, unknowns, channels, parts, unknowns, channels)
    for part, own in enumerate(rows.mT @ rows):
        squares[part, :, :, part].diagonal(dim1=1, dim2=3).add_(own[..., None])
    factor, failed = torch.linalg.cholesky_ex(normal)
    if int(failed):
        return None

    def whole(values: Tensor) -> Tensor:
        return values.flatten()[places].reshape(n, *shape)

    def left(x: Tensor) -> tuple[Tensor, list[Tensor]]:
        value = whole(x)
        return wanted - rows @ x, [w * torch.where(w > 0, out - _read(r, value), 0.0) for r, w, out in readings]

    for _ in range(REFINEMENTS):
        own, rest = left(x)
        pulled = torch.stack([_pulled(r, w * row, shape) for (r, w, _), row in zip(readings, rest)]).sum(0)
        right = pulled.flatten()[order].reshape(x.shape) + rows.mT @ own
        x = x + torch.cholesky_solve(right.reshape(-1, 1), factor).reshape(x.shape)
    own, rest = left(x)
    deviation = torch.cholesky_inverse(factor).diagonal().sqrt().reshape(x.shape)
    if not float(deviation.max()) < TRUST * float(x.square().mean().sqrt()):
        return None
    return whole(x), whole(deviation), sum(float(row.square().sum()) for row in (own, *rest))


def _read(layer: Layer | None, value: Tensor) -> Tensor:
    return value if layer is None else layer.linear(value)


def _pulled(layer: Layer | None, rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    return rows if layer is None else layer.pull(rows, [shape])[0]
