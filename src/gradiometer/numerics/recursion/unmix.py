"""Unmixing the examples of a batch behind a global mean: differences between positions mostly belong to one example.

Behind a global mean the derivative by example b in channel c is one number d[c, b] wherever the unit is active. So in
the mixed delta maps Y[c, p] = A^T (d[c] * mask[c, p]) the difference between two positions holds only those examples
whose masks differ there, and the directions that occur most often are the rows of A. Examples of one class have almost
the same levels; then the direction in which both change is frequent too, and that single maps have two values a channel decides.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

UNEVEN = 0.01
"""Part of the maps' size that they may be away from two values a channel and still be taken for single examples'."""
MORE, SAMPLE, FLAT = 4, 256, 300.0
"""Directions an example that are tried, the channels that judge them, and the condition of those that no longer tell examples apart."""


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
    found = _directions(probes, lines, examples, tolerance, _beyond_span)
    if len(found) < examples:
        return None
    if float(_uneven(points, found, low).max()) > UNEVEN:
        others = _directions(probes, lines, MORE * examples, tolerance, _beyond_each)
        found = _exchanged(points, found, others, low)
    single = points @ torch.linalg.inv(found)
    return single.transpose(1, 2).reshape(mixed.shape)


def _directions(
    probes: Tensor, lines: Tensor, count: int, tolerance: float, beyond: Callable[[Tensor, Tensor], float]
) -> Tensor:
    """The first directions [at most count, examples] that are new, each the mean of the lines near it.

    Args:
        beyond: how far a direction is from those found before.
    """
    found = probes.new_zeros(0, probes.shape[1])
    for direction in probes:
        if beyond(direction, found) > (100 * tolerance) ** 0.5:
            near = lines[(lines @ direction).abs() > 1 - tolerance]
            found = torch.cat([found, torch.linalg.svd(near, full_matrices=False).Vh[:1]])
        if len(found) == count:
            break
    return found


def _beyond_span(direction: Tensor, found: Tensor) -> float:
    """Sine of the angle to the span: that keeps out most directions in which two examples' masks differ together."""
    span = torch.linalg.qr(found.T).Q
    return float((direction - span @ (span.T @ direction)).norm())


def _beyond_each(direction: Tensor, found: Tensor) -> float:
    """Sine of the angle to the nearest one."""
    return float((1 - (found @ direction).square()).clamp_min(0).amin()) ** 0.5 if len(found) else 1.0


def _exchanged(points: Tensor, found: Tensor, others: Tensor, low: float) -> Tensor:
    """The directions after exchanges, as long as an exchange leaves maps that are nearer to two values a channel.

    Examples of one class have almost the same p - y. Where their masks differ together, the differences have one direction
    as well, and it may be more frequent than the examples' own; but coordinates along it take three values.
    """
    least = _uneven(points, found, low)
    while float(least.max()) > UNEVEN:
        trials = [torch.cat([found[:i], other[None], found[i + 1 :]]) for i in range(len(found)) for other in others]
        errors = [_uneven(points, trial, low) for trial in trials]
        best = min(range(len(trials)), key=lambda i: float(errors[i].sum()))
        if float(errors[best].sum()) >= float(least.sum()):
            break
        found, least = trials[best], errors[best]
    return found


def _uneven(points: Tensor, directions: Tensor, low: float) -> Tensor:
    """How far each single map [examples] is from two values in every channel, `low` times one another: part of its size.

    Args:
        points: [channels, positions, examples]; directions: [examples, examples].
    """
    if float(torch.linalg.cond(directions)) > FLAT:
        return points.new_full((len(directions),), torch.inf)
    maps = (points[:SAMPLE] @ torch.linalg.inv(directions)).transpose(1, 2)
    level = maps.gather(2, maps.abs().argmax(2, keepdim=True))
    distance = torch.minimum((maps - level).abs(), (maps - low * level).abs())
    return distance.sum((0, 2)) / maps.abs().sum((0, 2))


def _whitening(rows: Tensor) -> Tensor:
    """The matrix that gives rows of unit covariance, so that no example hides behind a louder one."""
    values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
    return vectors / values.clamp_min(1e-30 * values[-1]).sqrt()
