"""Derivatives behind a global mean: from the shift structure to every example's masks, and to p - y.

    delta[b, c, p] = (share^T r_b)[c] * slope[b, c, p],   r_b = (p_b - y_b) / batch size

The shift structure gives delta up to order and scale of the examples, to about 1e-4; the slopes take two values only, so
they come out exactly, and then r is a linear problem. A second look, through the layer's input, which is by then known
to full precision, mends what the first one saw dimly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.numerics.fit import fit

from .checksum import sums
from .columns import column_maps, solvable
from .equations import from_channels, input_matrix, matrix, right_side
from .graph import Activation, Graph, Layer
from .least_squares import solve
from .noise import NONE, Noise, edge, row_variance
from .shift import Spectrum, delta_maps, spectrum
from .top import Top
from .unmix import unmix
from .wide_shift import batch_spectrum, wide_delta_maps

LOOKS = 20
"""How often input and slopes are solved from each other at most; two or three times where the first look was sharp."""
SCALELESS = "the bias gradients that tell the scale of p - y are zero"


@dataclass(frozen=True, kw_only=True, eq=False)
class Pooled:
    """What the top of the network tells.

    Args:
        delta: derivatives by the last activation's input [examples, channels, height, width].
        residues: r [examples, classes]; the negative entry is the label's.
        spectrum: of the layer that was read.
        disagreement: of the bias gradient with these derivatives, largest relative one.
        moved: units whose slope the second look changed.
    """

    delta: Tensor
    residues: Tensor
    spectrum: Spectrum
    disagreement: float
    moved: int


def read_top(
    graph: Graph,
    gradient: Mapping[str, Tensor],
    top: Top,
    *,
    rng: torch.Generator,
    alone: Tensor | None = None,
    noise: Noise = NONE,
) -> Pooled | str:
    """Everything about the top, or the reason why it cannot be read.

    Args:
        alone: r of the only example [1, classes], where there is only one.
        noise: in the gradient.
    """
    layer, activation = top.layer.operation, top.activation.operation
    assert isinstance(layer, Layer)
    assert isinstance(activation, Activation)
    scaled = gradient[layer.weight_name] / top.scale.reshape(-1, 1, 1, 1)
    floor = edge(row_variance(noise, layer) / top.scale.square(), scaled[0].numel())
    if not math.isfinite(floor):
        return f"entries of the gradient of {layer.where} are hidden"
    mixed = _mixed(scaled, top.size, layer.where, None if alone is None else 1, floor)
    if isinstance(mixed, str):
        return mixed
    seen, mixed_maps = mixed
    low = float(activation.slope(mixed_maps.new_tensor([-1.0])))
    single = unmix(mixed_maps, rng=rng, low=low)
    if single is None:
        return f"the {mixed_maps.shape[1]} examples of the batch could not be told apart in {layer.where}"
    maps = single.transpose(0, 1)
    shift_sums = sums(graph, gradient, top.below)
    head = top.head.operation
    assert isinstance(head, Layer)
    head_sums = gradient.get(head.bias_name or "")
    residues = _first_residues(maps, top.share, head_sums, shift_sums, low) if alone is None else alone
    if residues is None:
        return "the model has no bias whose gradient tells the scale of p - y"
    if not bool(residues.abs().mean() > 0):
        return SCALELESS
    slopes = _slopes(maps, residues @ top.share, low)
    told = alone is not None and not noise  # and rounded as the client rounded it: its sum need not be zero
    residues = residues if told else _residues(slopes, top.share, residues, head_sums, shift_sums)
    moved = 0
    for _ in range(LOOKS):
        if not bool(residues.abs().mean() > 0):
            return SCALELESS
        delta = (residues @ top.share)[:, :, None, None] * slopes
        again = _second_look(graph, gradient, top, delta)
        before, slopes = slopes, _slopes(again, residues @ top.share, low)
        residues = residues if told else _residues(slopes, top.share, residues, head_sums, shift_sums)
        moved += int((slopes != before).sum())
        if torch.equal(slopes, before):
            break
    delta = (residues @ top.share)[:, :, None, None] * slopes
    return Pooled(
        delta=delta,
        residues=residues,
        spectrum=seen,
        disagreement=_disagreement(delta, shift_sums),
        moved=moved,
    )


def _mixed(
    scaled: Tensor, size: tuple[int, int], where: str, examples: int | None, floor: float
) -> tuple[Spectrum, Tensor] | str:
    """Delta maps up to a mixing of the examples: of one by columns, by one axis after the other where channels are few."""
    height, width = size
    seen = (
        batch_spectrum(scaled, size, floor=floor) if examples is None else spectrum(scaled, height * width, floor=floor)
    )
    if examples is None and seen.full:
        return f"{where} has too few channels ({seen.live} live ones) for the rank {seen.rank} to tell the batch size"
    count = examples or seen.examples
    if not count:
        return f"the rank {seen.rank} of {where} is no multiple of its {seen.positions} positions"
    if count * seen.positions > min(scaled.shape[:2]):
        return f"{where} has too few channels for {count} examples at {seen.positions} positions"
    if examples == 1 and solvable(scaled, size):
        return seen, column_maps(scaled, size, floor=floor)[:, None]
    read = delta_maps if seen.positions == height * width else wide_delta_maps
    return seen, read(scaled, size, count)


def _first_residues(
    maps: Tensor, share: Tensor, head_sums: Tensor | None, shift_sums: Tensor | None, low: float
) -> Tensor | None:
    """r of every example from maps that are right up to scale and to about 1e-4."""
    size = maps.abs().amax((2, 3))
    level = _typical(maps.flatten(2), 0.5 * (1 + low))
    shapes = torch.stack([_robust(share, level[b], size[b]) for b in range(len(maps))])
    if head_sums is not None and len(maps) < share.shape[0]:
        factors = fit(shapes.T, head_sums)
    elif shift_sums is not None:
        factors = fit(maps.sum((2, 3)).T, shift_sums)
    else:
        return None
    return shapes * factors[:, None]


def _robust(share: Tensor, level: Tensor, size: Tensor) -> Tensor:
    """r with share^T r = level for most channels: those without any active unit do not follow."""
    fits = size > size.median()
    r = torch.zeros(share.shape[0], dtype=share.dtype)
    for tolerance in (*[1e-2] * 8, 1e-3, 1e-4, 1e-4):
        r = fit(share.T[fits], level[fits])
        wanted = r @ share
        better = (level - wanted).abs() < tolerance * wanted.abs()
        if int(better.sum()) > 4 * len(r):
            fits = better
    return r


def _slopes(maps: Tensor, level: Tensor, low: float) -> Tensor:
    """The nearer of the two slopes, once every example's maps are brought to the scale of its level."""
    maps = maps * _factor(maps, level)[:, None, None, None]
    safe = torch.where(level == 0, 1.0, level)[:, :, None, None]
    return torch.where(maps / safe > 0.5 * (1 + low), 1.0, low)


def _factor(maps: Tensor, level: Tensor) -> Tensor:
    """Scale of every example, by the median over its strongest channels."""
    strong = level.abs() > level.abs().median(1, keepdim=True).values
    typical = _typical(maps.flatten(2), 0.5)
    ratio = torch.where(strong & (typical != 0), level / torch.where(typical != 0, typical, 1.0), torch.nan)
    return ratio.nanmedian(1).values


def _typical(maps: Tensor, least: float) -> Tensor:
    """Mean of every map's larger entries, which are alike behind a global mean.

    Args:
        maps: [..., positions]; least: part of the largest one.
    """
    active = maps.abs() > least * maps.abs().amax(-1, keepdim=True)
    return (maps * active).sum(-1) / active.sum(-1).clamp_min(1)


def _residues(
    slopes: Tensor, share: Tensor, before: Tensor, head_sums: Tensor | None, shift_sums: Tensor | None
) -> Tensor:
    """r of all examples by linear least squares, given the slopes: bias gradients are sums of derivatives."""
    examples, classes = before.shape
    rows, right = [], []
    if shift_sums is not None:
        counts = slopes.sum((2, 3))
        design = (share.T[None] * counts[..., None]).transpose(0, 1).reshape(len(shift_sums), -1)
        size = ((before @ share).abs() * counts).sum(0).clamp_min(1e-300)
        keep = (design @ before.flatten() - shift_sums).abs() < 1e-2 * size
        weight = keep / torch.sqrt(size.square() + 0.01 * size.square().mean())
        rows, right = [design * weight[:, None]], [shift_sums * weight]
    unit = torch.eye(classes, dtype=share.dtype)
    total = before.abs().mean()
    if head_sums is not None:
        rows, right = [*rows, unit.repeat(1, examples) / total], [*right, head_sums / total]
    zero_sum = torch.block_diag(*[torch.ones(1, classes, dtype=share.dtype)] * examples) / total
    rows, right = [*rows, zero_sum], [*right, torch.zeros(examples, dtype=share.dtype)]
    return fit(torch.cat(rows), torch.cat(right)).reshape(examples, classes)


def _second_look(graph: Graph, gradient: Mapping[str, Tensor], top: Top, delta: Tensor) -> Tensor:
    """Solves the layer's input from these derivatives, and the derivatives again from that input."""
    layer = top.layer.operation
    assert isinstance(layer, Layer)
    shape = graph.nodes[top.layer.inputs[0]].shape
    scaled = gradient[layer.weight_name] / top.scale.reshape(-1, 1, 1, 1)
    weight = 1 / scaled.flatten(1).norm(dim=1).clamp_min(1e-300)
    weight = torch.where(scaled.flatten(1).norm(dim=1) > 0, weight, 0.0)
    design = matrix(layer, delta * weight[:, None, None], shape)[0]
    value = from_channels(
        layer, solve(design, right_side(layer, scaled * weight[:, None, None, None])[0]).x[None], shape
    )
    design = input_matrix(layer, value)[0]
    answer = solve(design, (scaled * weight[:, None, None, None]).flatten(1).T).x.T / weight.clamp_min(1e-300)[:, None]
    out = delta.shape[1]
    return answer.reshape(out, len(delta), *delta.shape[2:]).transpose(0, 1)


def _disagreement(delta: Tensor, shift_sums: Tensor | None) -> float:
    if shift_sums is None:
        return 0.0
    size = delta.abs().sum((0, 2, 3))
    return float(((delta.sum((0, 2, 3)) - shift_sums).abs() / (size + 1e-3 * size.mean())).max())
