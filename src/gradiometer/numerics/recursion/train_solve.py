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

from .equations import from_channels, matrix, positions, right_side, to_channels
from .forward_known import Estimate
from .graph import Layer
from .newton import Fit, Rows, fit
from .own_norm import At, OwnNorm

NEGLIGIBLE = 7e-6
"""Relative residual of an output channel's equations that a float32 client's rounding leaves."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reader:
    """A layer, with the normalization behind it if there is one.

    Args:
        derivatives: by the normalization's output, or by the layer's own [n, *output shape].
        gradient: of the weight.
        sums: gradient of the bias, where it tells anything.
        output: what is known of the normalization's output.
        ignored: output channels whose equations are left out.
    """

    layer: Layer
    norm: OwnNorm | None
    derivatives: Tensor
    gradient: Tensor
    sums: Tensor | None = None
    output: Estimate | None = None
    ignored: tuple[int, ...] = ()

    @property
    def weight(self) -> Tensor:
        """Of its gradient's equations [out]: one over the size of each output channel's."""
        size = self.gradient.flatten(1).norm(dim=1)
        weight = 1 / torch.sqrt(size.square() + 0.01 * size.square().mean())
        weight[list(self.ignored)] = 0
        return weight

    def trust(self, known: Estimate) -> Tensor:
        """Weight of known entries, in which their errors are alike those of the gradient's equations."""
        return NEGLIGIBLE / self.gradient[0].numel() ** 0.5 / known.deviation

    def rows(self, vector: Tensor) -> Tensor:
        """A number for every output channel [out], to be multiplied with its weights."""
        return vector.reshape(-1, *[1] * (self.gradient.ndim - 1))

    def maps(self, vector: Tensor) -> Tensor:
        """The same for its outputs."""
        return vector if self.layer.dense else vector.reshape(-1, 1, 1)

    def totals(self, delta: Tensor) -> Tensor:
        """The gradient of the bias [out]."""
        return delta.flatten(0, -2).sum(0) if self.layer.dense else delta.sum((0, 2, 3))

    def transpose(self, weight: Tensor, shape: torch.Size, value: Tensor) -> Tensor:
        """The layer's transpose, with other weights."""
        if self.layer.dense:
            return value @ weight
        return conv2d_input(shape, weight, value, self.layer.stride, self.layer.padding, self.layer.dilation)

    def correlate(self, v: Tensor, delta: Tensor) -> Tensor:
        """The gradient of the weight."""
        layer = self.layer
        if layer.dense:
            return delta.flatten(0, -2).T @ v.flatten(0, -2)
        return conv2d_weight(v, list(layer.weight.shape), delta, layer.stride, layer.padding, layer.dilation)

    def convolve(self, weight: Tensor, v: Tensor) -> Tensor:
        """The layer with other weights."""
        if self.layer.dense:
            return v @ weight.T
        return torch.conv2d(v, weight, None, self.layer.stride, self.layer.padding, self.layer.dilation)

    def at(self, v: Tensor) -> At | None:
        """Its normalization, given its input."""
        return None if self.norm is None else At.of(self.norm, self.layer.apply(v))

    def delta(self, v: Tensor) -> Tensor:
        """Derivatives by its output, given its input."""
        at = self.at(v)
        return self.derivatives if at is None else at.pull(self.derivatives)


def first(readers: Sequence[Reader], shape: tuple[int, ...]) -> Tensor:
    """The tensor [n, *shape] as the weight gradients tell it if delta = gamma (d - mean d) / |w|, up to one factor.

    Args:
        shape: of one example.
    """
    designs, rights = [], []
    for r in readers:
        d = r.derivatives
        if r.norm is not None:
            g = r.norm.gamma * d
            d = (g - r.norm.average(g)) / r.maps(r.layer.weight.flatten(1).norm(dim=1))
        designs.append(matrix(r.layer, r.maps(r.weight) * d, shape)[0])
        rights.append(right_side(r.layer, r.rows(r.weight) * r.gradient)[0])
    design, right = torch.cat(designs), torch.cat(rights)
    normal = design.T @ design
    normal = normal + 1e-3 * normal.diagonal().mean() * torch.eye(len(normal), dtype=normal.dtype)
    flat = torch.cholesky_solve(design.T @ right, torch.linalg.cholesky(normal))
    v = from_channels(readers[0].layer, flat[None], shape)
    told = [(r.totals(r.delta(v)), r.sums) for r in readers if r.norm is not None and r.sums is not None]
    if told:  # a bias tells the factor, as delta falls with the size of v
        caused, sums = (torch.cat(parts) for parts in zip(*told))
        v = v * (caused @ sums / sums.square().sum()).clamp(0.1, 10)
    return v


def refine(
    readers: Sequence[Reader],
    start: Tensor,
    itself: Estimate | None,
    *,
    enough: float,
    damping: float,
    products: int = 60,
) -> Fit:
    """The tensor that solves the equations, from one near it.

    Args:
        itself: what is known of the tensor's own entries.
        enough: residual of an output channel, relative, at which to stop.
        damping: of the first step, relative to the equations' size.
        products: upper limit of each linear solve.
    """
    goal = max(enough, NEGLIGIBLE / 10) * sum(len(r.gradient) for r in readers) ** 0.5
    return fit(
        lambda v: _There(v, readers, itself),
        start,
        steps=12,
        damping=damping,
        enough=goal,
        least=1e-9,
        products=products,
    )


class _There:
    """The equations at one value of the tensor."""

    def __init__(self, v: Tensor, readers: Sequence[Reader], itself: Estimate | None) -> None:
        self.v, self.readers, self.itself = v, readers, itself
        self.size = 1 / (len(v) * positions(readers[0].layer, tuple(v.shape[1:])))
        self.at = [r.at(v) for r in readers]
        self.delta = [r.derivatives if at is None else at.pull(r.derivatives) for r, at in zip(readers, self.at)]
        self.own = None if itself is None else readers[0].trust(itself)
        # A bias is the weight of one more channel, which is 1 everywhere: brought to the size of the others.
        self.one = float(v.square().mean().sqrt())
        rows: list[Tensor] = []
        for r, at, delta in zip(readers, self.at, self.delta):
            rows.append(r.rows(r.weight) * (r.correlate(v, delta) - r.gradient))
            if r.sums is not None:
                rows.append(self.one * r.weight * (r.totals(delta) - r.sums))
            if r.output is not None and at is not None:
                told = r.trust(r.output)
                rows.append(torch.where(told > 0, told * (at.output - r.output.value), 0.0))
        if itself is not None and self.own is not None:
            rows.append(torch.where(self.own > 0, self.own * (v - itself.value), 0.0))
        self.rows: Rows = rows

    def forward(self, change: Tensor) -> Rows:
        rows = []
        for r, at, delta in zip(self.readers, self.at, self.delta):
            moved = r.convolve(r.layer.weight, change)
            bent = torch.zeros_like(delta) if at is None else at.bend(r.derivatives, moved)
            rows.append(r.rows(r.weight) * (r.correlate(change, delta) + r.correlate(self.v, bent)))
            if r.sums is not None:
                rows.append(self.one * r.weight * r.totals(bent))
            if r.output is not None and at is not None:
                rows.append(r.trust(r.output) * at.norm.gamma * at.tangent(moved))
        return rows if self.own is None else [*rows, self.own * change]

    def adjoint(self, rows: Rows) -> Tensor:
        result = torch.zeros_like(self.v) if self.own is None else self.own * rows[-1]
        left = iter(rows)
        for r, at, delta in zip(self.readers, self.at, self.delta):
            weighted = r.rows(r.weight) * next(left)
            by_delta = r.convolve(weighted, self.v)
            if r.sums is not None:
                by_delta = by_delta + r.maps(self.one * r.weight * next(left))
            result = result + r.transpose(weighted, self.v.shape, delta)
            if at is not None:
                moved = at.bend(r.derivatives, by_delta)
                if r.output is not None:
                    moved = moved + at.pull(r.trust(r.output) * next(left))
                result = result + r.transpose(r.layer.weight, self.v.shape, moved)
        return result

    def normal(self) -> Tensor:
        """Matrix of the equations with delta held fixed, the same for all input channels; known values as if all were alike."""
        shape = tuple(self.v.shape[1:])
        designs = [matrix(r.layer, r.maps(r.weight) * d, shape)[0] for r, d in zip(self.readers, self.delta)]
        more = torch.zeros((), dtype=self.v.dtype) if self.own is None else self.own.square().mean()
        for r, at in zip(self.readers, self.at):
            if r.output is not None and at is not None:
                told = (r.trust(r.output) * at.norm.gamma / at.sigma).square().mean()
                more = more + told * r.layer.weight.square().sum() / r.layer.weight.shape[1]
        normal = torch.stack([d.T @ d for d in designs]).sum(0)
        return normal + more * torch.eye(len(normal), dtype=normal.dtype)

    def inverse(self, damping: float) -> Callable[[Tensor], Tensor]:
        layer, normal = self.readers[0].layer, self.normal()
        rounding = 1e-12 * float(normal.diagonal().mean())
        factor = torch.linalg.cholesky(normal + (damping + rounding) * torch.eye(len(normal), dtype=normal.dtype))

        def solved(slope: Tensor) -> Tensor:
            flat = torch.cholesky_solve(to_channels(layer, slope)[0], factor)
            return from_channels(layer, flat[None], tuple(self.v.shape[1:]))

        return solved


def deviation(readers: Sequence[Reader], v: Tensor, residual: float) -> Tensor:
    """Expected error of every position, in a shape that broadcasts to v, given the relative residual of an output channel.

    Common offsets of a stride's classes of positions, which may be hidden, are not counted.
    """
    normal, layer = _There(v, readers, None).normal(), readers[0].layer
    if not layer.dense:
        down, across = layer.stride
        mark = torch.arange(v[0, 0].numel()).reshape(v.shape[2:])
        mark = (mark // v.shape[3] % down) * across + mark % v.shape[3] % across
        mark = mark.flatten().repeat(len(v))
        normal = normal + (mark[:, None] == mark) * normal.diagonal().mean() / len(mark)
    spread = torch.cholesky_inverse(torch.linalg.cholesky(normal)).diagonal()
    shape = (len(v), *v.shape[1:-1], 1) if layer.dense else (len(v), 1, *v.shape[2:])
    return max(residual, NEGLIGIBLE) / readers[0].gradient[0].numel() ** 0.5 * spread.reshape(shape).sqrt()
