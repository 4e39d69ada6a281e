"""Shift structure where positions x examples exceed the channels: one axis after the other.

The slice at kernel offset (dy, dx) is S = sum_{y, x} Q[y, x] U[y + dy, x + dx]; dy = 1 leaves a row of the map out on
either side, so (height - 1) x width x examples channels are enough to follow the moves dx: they give every column of the
map, rows and examples still mixed. Columns are then put below each other, which makes channels plenty, and with bases
L [width, out, rank] and K [width, rank, in] of what both dy = 1 and dy = -1 gave, the slices of dy = 0 are linear in the
one matrix that is left:

    S[0, dx] = sum_x L[x] r K[x + dx]

With r the moves dy are known as well, and lead from the first row to all others.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .cgls import cgls
from .shift import Spectrum, spectrum

ITERATIONS = 400
NEARLY = 0.9
"""Part of the live channels from which a rank is compared with that of fewer offsets."""


def batch_spectrum(gradient: Tensor, size: tuple[int, int], *, floor: float = 0.0) -> Spectrum:
    """Of all kernel offsets, or where their rank nearly fills the channels, of those one below the middle if they tell more.

    Channels with a few active units look alive and add next to nothing to the rank, so that one just below the number of
    channels may be cut short: then the rank (height - 1) x width x examples of fewer offsets has the wider gap.

    Args:
        floor: largest singular value of noise that was added to the gradient.
    """
    height, width = size
    seen = spectrum(gradient, height * width, floor=floor)
    if seen.rank <= NEARLY * seen.live or min(size) == 1:
        return seen
    wide = spectrum(_near(gradient)[:, :, 2:], (height - 1) * width, floor=floor)
    return wide if seen.full or wide.gap > seen.gap else seen


def wide_delta_maps(gradient: Tensor, size: tuple[int, int], examples: int) -> Tensor:
    """Delta maps up to a mixing of examples: [out, examples, height, width].

    Args:
        gradient: [out, in, kernel, kernel] of a layer with `Layer.shifts()`.
        size: height and width of the map; (height - 1) * width * examples may not exceed the channels.
    """
    height, width = size
    slices = _near(gradient).permute(2, 3, 0, 1)
    down, up = (_columns(slices[dy], width, (height - 1) * examples) for dy in (2, 0))
    left = _basis(torch.cat([_tall(down[0]), _tall(up[0])], 1), height * examples)
    right = _basis(torch.cat([_tall(down[1].mT), _tall(up[1].mT)], 1), height * examples)
    moves = [(left.T @ _tall(q)) @ (_tall(u.mT).T @ right) for q, u in (down, up)]
    still = _middle(slices[1], left.unflatten(0, (width, -1)), right.unflatten(0, (width, -1)).mT)
    above, below = (torch.linalg.solve(still.T, move.T).T for move in moves)
    rows = [torch.linalg.svd(above).Vh[-examples:].T]
    while len(rows) < height:
        rows.append(below @ rows[-1])
    return torch.einsum("xor,yrb->obyx", left.unflatten(0, (width, -1)), torch.stack(rows))


def _near(gradient: Tensor) -> Tensor:
    """The 3 x 3 kernel offsets around the middle."""
    middle = gradient.shape[2] // 2
    return gradient[:, :, middle - 1 : middle + 2, middle - 1 : middle + 2]


def _columns(slices: Tensor, width: int, mixed: int) -> tuple[Tensor, Tensor]:
    """Delta [width, out, mixed] and input [width, mixed, in] of every column of the map, rows and examples mixed.

    Args:
        slices: at the offsets dx = -1, 0, 1, [3, out, in].
    """
    flat = slices.transpose(0, 1).flatten(1)
    left = torch.linalg.eigh(flat @ flat.T).eigenvectors[:, -width * mixed :]
    back, still, ahead = left.T @ slices
    inverse = torch.linalg.pinv(still, rtol=1e-9)
    columns = [torch.linalg.svd(ahead @ inverse).Vh[-mixed:].T]
    while len(columns) < width:
        columns.append(back @ (inverse @ columns[-1]))
    inputs = torch.linalg.solve(torch.cat(columns, 1), still)
    return left @ torch.stack(columns), inputs.unflatten(0, (width, mixed))


def _tall(columns: Tensor) -> Tensor:
    """[width, channels, mixed] as [width * channels, mixed]."""
    return columns.flatten(0, 1)


def _basis(vectors: Tensor, rank: int) -> Tensor:
    return torch.linalg.svd(vectors / vectors.norm(dim=0), full_matrices=False).U[:, :rank]


def _middle(slices: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """The matrix r with slices[dx] = sum_x left[x] r right[x + dx], by least squares."""
    width = len(left)
    pairs = [slice(max(0, -dx), width - max(0, dx)) for dx in (-1, 0, 1)]
    partners = [slice(max(0, dx), width - max(0, -dx)) for dx in (-1, 0, 1)]

    def forward(point: Sequence[Tensor]) -> list[Tensor]:
        through = left @ point[0]
        return [torch.einsum("xor,xri->oi", through[a], right[b]) for a, b in zip(pairs, partners)]

    def adjoint(rows: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        parts = [(left[a].mT @ row @ right[b].mT).sum(0) for row, a, b in zip(rows, pairs, partners)]
        pulled = torch.stack(parts).sum(0)
        return [pulled], pulled.square().sum()

    start = slices.new_zeros(left.shape[2], right.shape[1])
    found, _, _ = cgls(
        forward, adjoint, list(slices), [start], iterations=ITERATIONS, accuracy=1e-9 * float(slices.norm())
    )
    return found[0]
