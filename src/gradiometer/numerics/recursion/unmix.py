"""Unmixing the examples of a batch behind a global mean: differences between positions mostly belong to one example.

Behind a global mean the derivative by example b in channel c is one number d[c, b] wherever the unit is active. So in
the mixed delta maps Y[c, p] = A^T (d[c] * mask[c, p]) the difference between two positions holds only those examples
whose masks differ there, and the directions that occur most often are the rows of A. Examples of one class have almost
the same levels; then the direction in which both change is frequent too, and that single maps have two values a channel decides.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

UNEVEN = 0.01
"""Part of the maps' size that they may be away from two values a channel and still be taken for single examples'."""
SAMPLE, SWEEPS = 256, 8
"""Channels that judge the maps, and how often those of three values are looked through."""
BINS, MULTIPLES, LEAST = 600, 4, 0.02
"""Of the angle between two maps' changes: how finely it is counted, how many are tried, and how far from one map's alone."""


def unmix(mixed: Tensor, *, rng: torch.Generator, low: float = 0.0, tolerance: float = 2e-4) -> Tensor | None:
    """Delta maps of single examples, each up to its scale and in an unknown order.

    Args:
        mixed: [channels, examples, height, width].
        low: the activation's lower slope, in units of the upper one.
        tolerance: 1 - |cosine| below which two directions are the same one.

    Returns:
        [channels, examples, height, width], or None if fewer directions than examples stand out.
    """
    examples = mixed.shape[1]
    if examples == 1:
        return mixed
    points = mixed.flatten(2).transpose(1, 2)
    first, second = torch.triu_indices(points.shape[1], points.shape[1], 1)
    differences = (points[:, first] - points[:, second]).reshape(-1, examples)
    whiten = _whitening(differences)
    points, differences = points @ whiten, differences @ whiten
    size = differences.norm(dim=1)
    lines = differences[size > 1e-2 * size.max()]
    lines = lines / lines.norm(dim=1, keepdim=True)
    lines = lines[torch.randperm(len(lines), generator=rng)[: max(8000, 2000 * examples)]]
    probes = lines[: max(3000, 300 * examples)]
    coarse = lines.T.float()
    votes = torch.cat([((part @ coarse).abs() > 1 - tolerance).sum(1) for part in probes.float().split(500)])
    probes = probes[votes.argsort(descending=True)]
    found = _directions(probes, lines, tolerance)
    if len(found) < examples:
        return None
    single = (points @ torch.linalg.inv(found)).transpose(1, 2)
    return _parted(single, low).reshape(mixed.shape)


def _directions(probes: Tensor, lines: Tensor, tolerance: float) -> Tensor:
    """The first directions [at most examples, examples] outside the span of those before, each the mean of the lines near it."""
    examples = probes.shape[1]
    found = probes.new_zeros(0, examples)
    for direction in probes:
        span = torch.linalg.qr(found.T).Q
        if float((direction - span @ (span.T @ direction)).norm()) > (100 * tolerance) ** 0.5:
            near = lines[(lines @ direction).abs() > 1 - tolerance]
            found = torch.cat([found, torch.linalg.svd(near, full_matrices=False).Vh[:1]])
        if len(found) == examples:
            break
    return found


def _parted(maps: Tensor, low: float) -> Tensor:
    """Maps [channels, examples, positions] without the multiples of one another that make them take three values a channel.

    A found direction in which several examples change leaves such multiples in their maps.
    """
    maps = maps / maps.square().mean((0, 2)).sqrt()[:, None].clamp_min(1e-300)
    uneven = _uneven(maps[:SAMPLE], low)
    for _ in range(SWEEPS):
        before = uneven.clone()
        for mixed in (before > UNEVEN).nonzero().flatten().tolist():
            single, error = maps[:, mixed], uneven[mixed] - UNEVEN
            for other in range(maps.shape[1]):
                multiples = _multiples(maps[:SAMPLE, mixed], maps[:SAMPLE, other])
                trials = maps[:, mixed, None] - multiples[:, None] * maps[:, other, None]
                errors = _uneven(trials[:SAMPLE], low)
                if float(errors.amin()) < error:
                    single, error = trials[:, errors.argmin()], errors.amin()
                    uneven[mixed] = error
            maps[:, mixed] = single
        if torch.equal(uneven, before):
            break
    return maps


def _multiples(mixed: Tensor, other: Tensor) -> Tensor:
    """The most frequent multiples [MULTIPLES] of the other map's changes [channels, positions] among the mixed one's.

    Between these two maps alone it does not matter what further examples do: places where one changes by itself are many.
    """
    first, second = torch.triu_indices(mixed.shape[1], mixed.shape[1], 1)
    rise, run = ((maps[:, first] - maps[:, second]).flatten() for maps in (mixed, other))
    size = torch.hypot(rise, run)
    both = torch.minimum(rise.abs(), run.abs()) > LEAST * size
    angles = torch.atan2(rise, run)[both & (size > 0.05 * size.max())].remainder(math.pi)
    if not len(angles):
        return mixed.new_zeros(1)
    bins = torch.histc(angles, bins=BINS, min=0, max=math.pi).topk(MULTIPLES).indices
    near = (angles * (BINS / math.pi) - bins[:, None] - 0.5).abs() < 1
    return torch.where(near, angles, torch.nan).nanmedian(1).values.nan_to_num().tan()


def _uneven(maps: Tensor, low: float) -> Tensor:
    """How far each map [channels, examples, positions] is from two values in every channel, `low` times one another: part of its size."""
    level = maps.gather(2, maps.abs().argmax(2, keepdim=True))
    distance = torch.minimum((maps - level).abs(), (maps - low * level).abs())
    return distance.sum((0, 2)) / maps.abs().sum((0, 2)).clamp_min(1e-300)


def _whitening(rows: Tensor) -> Tensor:
    """The matrix that gives rows of unit covariance, so that no example hides behind a louder one."""
    values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
    return vectors / values.clamp_min(1e-30 * values[-1]).sqrt()
