"""Directions that the weight gradients leave open, closed by known outputs of the layers that read the tensor.

In the eigenbasis of the weight-gradient equations their part of the objective is diagonal, which makes the
preconditioner of a conjugate-gradient solve; known outputs couple channels and enter as convolutions. Every row is
divided by its expected error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .cgls import cgls, squared
from .components import Components
from .dense_closing import LARGEST, written_out
from .equations import to_channels
from .forward_known import Estimate
from .graph import Layer
from .least_squares import Directions


class Reading(NamedTuple):
    """A layer that reads the tensor (None: the tensor itself), and what is known of its output before the bias."""

    layer: Layer | None
    output: Estimate


@dataclass(frozen=True, kw_only=True)
class Closed:
    """The tensor, its deviation, the error in units of what was expected.

    `null` is a lower limit: equations that are missing a channel, or 1 if the solve did not converge.
    """

    value: Tensor
    deviation: Tensor
    excess: float
    null: int
    iterations: int


def close(
    layer: Layer,
    shape: tuple[int, ...],
    pieces: Components,
    parts: Sequence[Directions],
    readings: Sequence[Reading],
    *,
    generator: torch.Generator | None,
    iterations: int = 2000,
) -> Closed:
    """Minimizes both parts together.

    Args:
        layer: one reader, for the layout of unknowns.
        shape: of the tensor, one example.
        pieces: parts of the unknowns that share no weight-gradient equation.
        parts: what these equations determine, piece by piece of each group.
        generator: of the noise with which the solve is repeated, to see how far it moves the answer; None to save that.
    """
    basis, scale, strength, known = _stacked(parts)
    weights = [1 / r.output.deviation for r in readings]
    rho = float((pieces.split(_diagonal(layer, shape, readings, weights)) / scale.square()).mean())
    free, bound = rho**-0.5, (strength + rho).rsqrt()
    rows_scale = strength.sqrt() * bound

    zero = torch.zeros(len(parts), len(scale[0]), known.shape[2], dtype=known.dtype)
    places = pieces.places(layer, shape, zero)
    order, per_scale = places.argsort(), 1 / scale

    def whole(values: Tensor) -> Tensor:
        return values.flatten().index_select(0, places).reshape(-1, *shape)

    # The unknown z, preconditioned by P = `free` outside the basis and `bound` along it, is carried as its part along the
    # basis and as the values P z / scale: the basis, which fills the memory, is then read twice an iteration, not four times.
    def forward(z: Sequence[Tensor]) -> list[Tensor]:
        along, values = z
        value = whole(values)
        rows = [w * (value if r.layer is None else r.layer.linear(value)) for r, w in zip(readings, weights)]
        return [rows_scale * along, *rows]

    def adjoint(rows: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        pulled = [
            w * row if r.layer is None else r.layer.pull(w * row, [shape])[0]
            for r, w, row in zip(readings, weights, rows[1:])
        ]
        t = reduce(torch.add, pulled).flatten().index_select(0, order).reshape(zero.shape) * per_scale
        part = (t.mT @ basis).mT
        inside = torch.addcmul(rows_scale * rows[0], bound - free, part)
        along = torch.add(inside, part, alpha=free)
        values = torch.baddbmm(t, basis, torch.addcmul(free * inside, bound - free, along), beta=free**2) * per_scale
        return [along, values], free**2 * squared(t) + (inside * torch.add(inside, part, alpha=2 * free)).sum()

    right = [strength.sqrt() * known, *(torch.where(w > 0, w * r.output.value, 0.0) for r, w in zip(readings, weights))]
    start = [torch.zeros_like(known), zero]
    z, rest, used = cgls(forward, adjoint, right, start, iterations=iterations, accuracy=0.1 * zero.numel() ** 0.5)
    value, size, slow = whole(z[1]), sum(float(r.square().sum()) for r in rest), used == iterations
    count = sum(int((w > 0).sum()) for w in weights) + known.numel()
    deviation = torch.zeros_like(zero)
    if slow and zero.numel() <= min(LARGEST, count):
        rows, known_outputs = (basis * scale * strength.mT.sqrt()).mT, [r.output.value for r in readings]
        answers = list(zip((r.layer for r in readings), weights, known_outputs))
        direct = written_out(layer, shape, pieces, rows, strength.sqrt() * known, answers)
        if direct is not None:
            value, spread, size = direct
            slow, deviation = False, spread.flatten()[order].reshape(zero.shape)
    elif generator is not None:
        noise = [torch.randn(b.shape, generator=generator, dtype=b.dtype) * (b != 0) for b in right]
        moved, _, _ = cgls(forward, adjoint, noise, start, iterations=used, accuracy=0.2 * zero.numel() ** 0.5)
        # Some positions are determined better than others; a group's channels are alike.
        deviation = moved[1].square().mean(2, keepdim=True).sqrt().expand_as(zero)
    excess = (size / max(count - zero.numel(), 1)) ** 0.5
    null = max(0, -(-(zero.numel() - count) // zero.shape[2]))
    return Closed(
        value=value,
        null=max(null, 1) if slow else null,
        deviation=whole(deviation) * max(1.0, excess),
        excess=excess,
        iterations=used,
    )


def _stacked(parts: Sequence[Directions]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Basis, scale, strength and known coordinates of all groups, groups of lower rank being padded with zeros."""
    rank = max(s.basis.shape[1] for s in parts)
    pads = [rank - s.basis.shape[1] for s in parts]
    basis = torch.stack([F.pad(s.basis, (0, more)) for s, more in zip(parts, pads)])
    scale = torch.stack([s.scale for s in parts])[..., None]
    strength = torch.stack([F.pad(s.eigenvalues / s.level**2, (0, more)) for s, more in zip(parts, pads)])
    known = torch.stack([F.pad(s.coordinates, (0, 0, 0, more)) for s, more in zip(parts, pads)])
    return basis, scale, strength[..., None], known


def _diagonal(layer: Layer, shape: tuple[int, ...], readings: Sequence[Reading], weights: Sequence[Tensor]) -> Tensor:
    """Diagonal of the known outputs' normal matrix, in the layout of the unknowns."""
    total = torch.zeros(())
    for reading, w in zip(readings, weights):
        squared = w.square()
        total = total + (squared if reading.layer is None else _squared(reading.layer).pull(squared, [shape])[0])
    return to_channels(layer, total)


def _squared(layer: Layer) -> Layer:
    weight = layer.weight.square()
    free = replace(layer, weight=weight, bias=None)
    return replace(free, apply=free.linear)
