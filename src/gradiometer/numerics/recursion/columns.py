"""The shift structure of one example, column by column: where channels are as few as positions, or fewer are live.

The slice of dL/dW at kernel offset k is S_k = Q T_k U (see `shift`). If K undoes the input maps, U K = 1, then S_0 K = Q and

    S_k K[p] = S_0 K[p - k]    (0 where p - k leaves the map)    for all positions p and offsets k,

a homogeneous linear system in the columns of K whose one solution, up to scale, gives Q. Q may have any rank: channels
whose units are all active, which tell `shift` nothing of single positions, do no harm. Where U itself lacks a few
ranks, no K undoes it, and the least singular vector is near enough to tell a ReLU's slopes for most units.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .rows import LARGEST, null_space

RANK = 1e-6
"""Relative singular value from which a direction of the input maps counts."""


def solvable(gradient: Tensor, size: tuple[int, int]) -> bool:
    """Whether the system is small enough."""
    positions = size[0] * size[1]
    return positions * min(positions, gradient.shape[1]) <= LARGEST


def column_maps(gradient: Tensor, size: tuple[int, int], *, floor: float = 0.0) -> Tensor:
    """Delta maps of a single example, up to scale: [out, height, width].

    Args:
        gradient: [out, in, kernel, kernel] of a layer with `Layer.shifts()`.
        size: height and width of the map; the system is to be `solvable`.
        floor: largest singular value of noise that was added to the gradient.
    """
    height, width = size
    strength = gradient.flatten(1).norm(dim=1)
    rows = gradient / strength.where(strength > 0, torch.ones_like(strength))[:, None, None, None]
    slices = rows.permute(2, 3, 0, 1)
    _, values, right = torch.linalg.svd(slices.flatten(0, 2), full_matrices=False)
    least = max(RANK * float(values[0]), floor / float(strength.square().mean().sqrt()))
    rank = max(1, min(int((values > least).sum()), height * width))
    slices = slices @ (right[:rank].T / values[:rank])
    columns = null_space(_normal_matrix(slices, size), 1).reshape(-1, rank)
    middle = slices[slices.shape[0] // 2, slices.shape[1] // 2]
    return (middle @ columns.T * strength[:, None]).reshape(-1, height, width)


def _normal_matrix(slices: Tensor, size: tuple[int, int]) -> Tensor:
    """Of the system, over the columns of K.

    Args:
        slices: at every kernel offset [kernel, kernel, out, rank].
    """
    height, width = size
    down, across, _, rank = slices.shape
    middle = slices[down // 2, across // 2]
    everywhere = torch.arange(height * width)
    y, x = everywhere // width, everywhere % width
    blocks = slices.new_zeros(height * width, height * width, rank, rank)
    for i in range(down):
        for j in range(across):
            dy, dx = i - down // 2, j - across // 2
            if (dy, dx) == (0, 0):
                continue
            moved = slices[i, j]
            inside = (y >= dy) & (y < height + dy) & (x >= dx) & (x < width + dx)
            here = everywhere[inside]
            there = here - dy * width - dx
            blocks[everywhere, everywhere] += moved.T @ moved
            blocks[there, there] += middle.T @ middle
            blocks[here, there] -= moved.T @ middle
            blocks[there, here] -= middle.T @ moved
    return blocks.transpose(1, 2).reshape(height * width * rank, -1)
