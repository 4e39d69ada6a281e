"""Unmixing the examples of a batch behind a global mean: differences between positions mostly belong to one example.

Behind a global mean the derivative by example b in channel c is one number d[c, b] wherever the unit is active. So in
the mixed delta maps Y[c, p] = A^T (d[c] * mask[c, p]) the difference between two positions holds only those examples
whose masks differ there, and the directions that occur most often are the rows of A.
"""

from __future__ import annotations

import torch
from torch import Tensor


def unmix(mixed: Tensor, *, rng: torch.Generator, tolerance: float = 2e-4) -> Tensor | None:
    """Delta maps of single examples, each up to its scale and in an unknown order.

    Args:
        mixed: [channels, examples, height, width].
        tolerance: 1 - |cosine| below which two directions are the same one.

    Returns:
        [channels, examples, height, width], or None if fewer directions than examples stand out.
    """
    examples = mixed.shape[1]
    if examples == 1:
        return mixed
    points = mixed.flatten(2).transpose(1, 2)
    whiten = _whitening(points.reshape(-1, examples))
    points = points @ whiten
    first, second = torch.triu_indices(points.shape[1], points.shape[1], 1)
    differences = (points[:, first] - points[:, second]).reshape(-1, examples)
    size = differences.norm(dim=1)
    lines = differences[size > 1e-2 * size.max()]
    lines = lines / lines.norm(dim=1, keepdim=True)
    lines = lines[torch.randperm(len(lines), generator=rng)[: max(8000, 2000 * examples)]]
    probes = lines[: max(3000, 300 * examples)]
    coarse = lines.T.float()
    votes = torch.cat([((part @ coarse).abs() > 1 - tolerance).sum(1) for part in probes.float().split(500)])
    found: list[Tensor] = []
    for index in votes.argsort(descending=True).tolist():
        direction = probes[index]
        # Examples of one class have almost the same p - y: where their masks differ together, the differences have one
        # direction as well, but in the span of theirs.
        span = torch.linalg.qr(torch.stack(found).T).Q if found else direction.new_zeros(examples, 0)
        if float((direction - span @ (span.T @ direction)).norm()) > (100 * tolerance) ** 0.5:
            near = lines[(lines @ direction).abs() > 1 - tolerance]
            found.append(torch.linalg.svd(near, full_matrices=False).Vh[0])
        if len(found) == examples:
            break
    if len(found) < examples:
        return None
    single = points @ torch.linalg.inv(torch.stack(found))
    return single.transpose(1, 2).reshape(mixed.shape)


def _whitening(rows: Tensor) -> Tensor:
    """The matrix that gives rows of unit covariance, so that no example hides behind a louder one."""
    values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
    return vectors / values.clamp_min(1e-30 * values[-1]).sqrt()
