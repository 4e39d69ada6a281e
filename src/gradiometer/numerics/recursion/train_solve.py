"""One tensor from the layers that read it, where BatchNorm in train mode stands behind them.

With v the tensor, z = W v a reader's output and d the derivatives behind its BatchNorm, which are known,

    dL/dW = corr(v, delta(z)),    delta(z) = BatchNorm's backward pass of d at z

are equations in v alone: the batch's statistics follow from v. They are nearly linear, for over many entries delta is
gamma / sigma (d - mean d) but for small parts. BatchNorm hides one factor of v, which has to be told from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.grad import conv2d_input, conv2d_weight

from .equations import from_channels, matrix, right_side, to_channels
from .forward_known import Estimate
from .graph import Layer
from .newton import Fit, Rows, fit
from .train_norm import At, BatchNorm

NEGLIGIBLE = 7e-6
"""Relative residual of an output channel's equations that a float32 client's rounding leaves."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reader:
    """A convolution with BatchNorm behind it.

    Args:
        derivatives: by BatchNorm's output [n, out, height, width].
        gradient: of the weight.
        ignored: output channels whose equations are left out.
    """

    layer: Layer
    norm: BatchNorm
    derivatives: Tensor
    gradient: Tensor
    ignored: tuple[int, ...] = ()

    @property
    def weight(self) -> Tensor:
        """Of its gradient's equations [out, 1, 1, 1]: one over the size of each output channel's."""
        size = self.gradient.flatten(1).norm(dim=1)
        weight = 1 / torch.sqrt(size.square() + 0.01 * size.square().mean())
        weight[list(self.ignored)] = 0
        return weight.reshape(-1, 1, 1, 1)

    def transpose(self, weight: Tensor, shape: torch.Size, value: Tensor) -> Tensor:
        """The layer's transpose, with other weights."""
        return conv2d_input(shape, weight, value, self.layer.stride, self.layer.padding, self.layer.dilation)

    def correlate(self, v: Tensor, delta: Tensor) -> Tensor:
        """The gradient of the weight."""
        layer = self.layer
        return conv2d_weight(v, list(layer.weight.shape), delta, layer.stride, layer.padding, layer.dilation)

    def convolve(self, weight: Tensor, v: Tensor) -> Tensor:
        """The layer with other weights."""
        return torch.conv2d(v, weight, None, self.layer.stride, self.layer.padding, self.layer.dilation)


def first(readers: Sequence[Reader], shape: tuple[int, ...]) -> Tensor:
    """The tensor [n, *shape] as the weight gradients tell it if delta = gamma (d - mean d) / |w|, up to one factor.

    Args:
        shape: of one example.
    """
    designs, rights = [], []
    for r in readers:
        d = r.derivatives - r.derivatives.mean((0, 2, 3), keepdim=True)
        size = r.layer.weight.flatten(1).norm(dim=1).reshape(-1, 1, 1)
        designs.append(matrix(r.layer, r.weight[:, 0] * r.norm.gamma / size * d, shape)[0])
        rights.append(right_side(r.layer, r.weight * r.gradient)[0])
    design, right = torch.cat(designs), torch.cat(rights)
    normal = design.T @ design
    normal = normal + 1e-3 * normal.diagonal().mean() * torch.eye(len(normal), dtype=normal.dtype)
    flat = torch.cholesky_solve(design.T @ right, torch.linalg.cholesky(normal))
    return from_channels(readers[0].layer, flat[None], shape)


def refine(readers: Sequence[Reader], start: Tensor, itself: Estimate | None, *, enough: float, damping: float) -> Fit:
    """The tensor that solves the equations, from one near it.

    Args:
        itself: what is known of the tensor's own entries.
        enough: residual of an output channel, relative, at which to stop.
        damping: of the first step, relative to the equations' size.
    """
    goal = max(enough, NEGLIGIBLE / 10) * sum(len(r.gradient) for r in readers) ** 0.5
    return fit(lambda v: _There(v, readers, itself), start, steps=12, damping=damping, enough=goal, least=1e-9)


class _There:
    """The equations at one value of the tensor."""

    def __init__(self, v: Tensor, readers: Sequence[Reader], itself: Estimate | None) -> None:
        self.v, self.readers, self.size = v, readers, 1 / v[:, 0].numel()
        self.at = [At.of(r.norm, r.layer.linear(v)) for r in readers]
        self.delta = [at.pull(r.derivatives) for r, at in zip(readers, self.at)]
        self.own = None if itself is None else NEGLIGIBLE / readers[0].gradient[0].numel() ** 0.5 / itself.deviation
        rows = [r.weight * (r.correlate(v, d) - r.gradient) for r, d in zip(readers, self.delta)]
        if itself is not None and self.own is not None:
            rows.append(torch.where(self.own > 0, self.own * (v - itself.value), 0.0))

        self.rows: Rows = rows

    def forward(self, change: Tensor) -> Rows:
        rows = []
        for r, at, delta in zip(self.readers, self.at, self.delta):
            bent = at.bend(r.derivatives, r.layer.linear(change))
            rows.append(r.weight * (r.correlate(change, delta) + r.correlate(self.v, bent)))
        return rows if self.own is None else [*rows, self.own * change]

    def adjoint(self, rows: Rows) -> Tensor:
        result = torch.zeros_like(self.v) if self.own is None else self.own * rows[-1]
        for r, at, delta, row in zip(self.readers, self.at, self.delta, rows):
            weighted = r.weight * row
            bent = at.bend(r.derivatives, r.convolve(weighted, self.v))
            result = (
                result + r.transpose(weighted, self.v.shape, delta) + r.transpose(r.layer.weight, self.v.shape, bent)
            )
        return result

    def normal(self) -> Tensor:
        """Matrix of the equations with delta held fixed, which are the same for all input channels."""
        designs = [
            matrix(r.layer, r.weight[:, 0] * d, tuple(self.v.shape[1:]))[0] for r, d in zip(self.readers, self.delta)
        ]
        return torch.stack([d.T @ d for d in designs]).sum(0)

    def inverse(self, damping: float) -> Callable[[Tensor], Tensor]:
        layer, normal = self.readers[0].layer, self.normal()
        more = 0.0 if self.own is None else float(self.own.square().mean())
        rounding = 1e-12 * float(normal.diagonal().mean())
        factor = torch.linalg.cholesky(
            normal + (more + damping + rounding) * torch.eye(len(normal), dtype=normal.dtype)
        )

        def solved(slope: Tensor) -> Tensor:
            flat = torch.cholesky_solve(to_channels(layer, slope)[0], factor)
            return from_channels(layer, flat[None], tuple(self.v.shape[1:]))

        return solved


def deviation(readers: Sequence[Reader], v: Tensor, residual: float) -> Tensor:
    """Expected error of every position [n, 1, height, width], given the relative residual of an output channel.

    Common offsets of a stride's classes of positions, which may be hidden, are not counted.
    """
    normal = _There(v, readers, None).normal()
    down, across = readers[0].layer.stride
    mark = torch.arange(v[0, 0].numel()).reshape(v.shape[2:])
    mark = (mark // v.shape[3] % down) * across + mark % v.shape[3] % across
    mark = mark.flatten().repeat(len(v))
    normal = normal + (mark[:, None] == mark) * normal.diagonal().mean() / len(mark)
    spread = torch.cholesky_inverse(torch.linalg.cholesky(normal)).diagonal().reshape(len(v), 1, *v.shape[2:])
    return max(residual, NEGLIGIBLE) / readers[0].gradient[0].numel() ** 0.5 * spread.sqrt()
