"""Where to draw the nodes of a small graph: distances on paper as near to distances in the graph as they can be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

STEPS = 200
APART = 1.5
"""Bonds between parts that hang on to nothing."""

Points = np.ndarray
"""[n, 2], one unit a bond."""


def laid_out(count: int, edges: Sequence[tuple[int, int]]) -> Points:
    """Points [count, 2] that minimize the stress `sum_ij (|p_i - p_j| - d_ij)² / d_ij²`, the longest side across; no chance in it.

    References:
        Gansner, Koren, North, "Graph Drawing by Stress Majorization", 2004.
    """
    if count < 2:
        return np.zeros((count, 2))
    far = distances(count, edges)
    weights = np.where(np.eye(count) > 0, 0.0, 1 / np.maximum(far, 1e-9) ** 2)
    laplacian = np.diag(weights.sum(1)) - weights
    inverse = np.linalg.pinv(laplacian)
    # A ring as start: it is symmetric in nothing that the graph is not, and unfolds.
    turns = 2 * np.pi * np.arange(count) / count
    points = count / 6 * np.stack([np.cos(turns), 0.8 * np.sin(turns + 0.1)], 1) + _scaled(far)
    for _ in range(STEPS):
        gaps = points[:, None] - points[None]
        lengths = np.maximum(np.sqrt((gaps**2).sum(2)), 1e-9)
        pulls = weights * far / lengths
        points = inverse @ ((np.diag(pulls.sum(1)) - pulls) @ points)
    points = points - points.mean(0)
    _, _, axes = np.linalg.svd(points, full_matrices=False)
    return np.asarray(points @ axes.T)


def on_a_ring(count: int) -> Points:
    """Points [count, 2] at equal distances around a circle: where edges must not show."""
    turns = 2 * np.pi * np.arange(count) / max(1, count) - np.pi / 2
    return max(0.5, count / (2 * np.pi)) * np.stack([np.cos(turns), np.sin(turns)], 1) * (count > 1)


def below(points: Points, count: int) -> Points:
    """So many more points [count, 2] in rows below others."""
    left, right, lowest = points[:, 0].min(), points[:, 0].max(), points[:, 1].max()
    across = max(4, int(right - left) + 1)
    number = np.arange(count)
    return np.stack([left + number % across, lowest + 1.2 + number // across], 1)


def distances(count: int, edges: Sequence[tuple[int, int]]) -> np.ndarray:
    """Bonds between each two nodes [count, count]; a little more than any where there is no way."""
    far = np.full((count, count), np.inf)
    np.fill_diagonal(far, 0)
    for i, j in edges:
        far[i, j] = far[j, i] = 1
    for k in range(count):
        far = np.minimum(far, far[:, k, None] + far[None, k])
    reached = far[np.isfinite(far)].max()
    return np.where(np.isfinite(far), far, reached + APART)


def _scaled(far: np.ndarray) -> Points:
    """Classical scaling: the plane that keeps most of the squared distances."""
    count = len(far)
    center = np.eye(count) - 1 / count
    values, vectors = np.linalg.eigh(-0.5 * center @ far**2 @ center)
    vectors = vectors * np.where(vectors[np.abs(vectors).argmax(0), range(count)] < 0, -1, 1)
    return np.asarray(vectors[:, -2:][:, ::-1] * np.sqrt(np.maximum(values[-2:][::-1], 0)))
