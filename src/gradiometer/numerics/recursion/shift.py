"""The shift structure of a convolution's weight gradient: delta of every position, from the gradient alone.

With delta maps Q [out, positions x examples] and input maps U, the slice of dL/dW at kernel offset k is S_k = Q T_k U,
where T_k shifts positions and drops what leaves the map. If positions x examples <= channels, then:
- the rank of [S_k]_k is positions x examples: the batch size can be read off the spectrum;
- with V the left singular vectors, S_k = V C_k, the matrices B_k = C_k C_0^+ are the shifts in an unknown basis G,
  V G = Q. What every shift out of the map's corner kills is the corner's column; the shifts themselves give the others.
Hence Q is known up to one mixing matrix [examples, examples], the same for all positions.

References:
    Derived here. Nearest published: Eltaras et al., R-CONV, 2024, arXiv:2406.04227 (no pooling, no batches).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ABOVE = 1.1
"""Singular values must exceed those of known noise by this factor."""
FOOT = 1e-4
"""A cliff ends in rounding: singular values behind it are below this part of the largest."""
FULL = 0.97
"""Part of the live channels that a rank may reach and still tell the batch size."""


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """Singular values of a weight gradient and what they say.

    Args:
        values: falling, relative to the largest.
        rank: how many stand above the noise.
        gap: ratio of the last one above to the first one below (to the float32 floor, if none is below).
        positions: of the layer's output map.
        live: channels that are not dead, outputs or inputs, whichever are fewer.
    """

    values: Tensor
    rank: int
    gap: float
    positions: int
    live: int

    @property
    def examples(self) -> int:
        """The batch size, by rank / positions rounded; 0 where the rank is no multiple within a few dead positions."""
        count = round(self.rank / self.positions)
        return count if abs(self.rank - count * self.positions) <= max(2, 0.05 * self.positions * count) else 0

    @property
    def full(self) -> bool:
        """Whether the rank fills the channels, so that it is a lower limit only."""
        return self.rank > FULL * self.live


def spectrum(gradient: Tensor, positions: int, *, noise: float = 3e-7, floor: float = 0.0) -> Spectrum:
    """Reads the rank off the largest gap between neighboring singular values near the noise, or off known noise.

    Args:
        gradient: [out, in, *kernel], rows already divided by known channel scales.
        noise: relative size below which float32 sums leave singular values, for a matrix with equal rows.
        floor: largest singular value of noise that was added to the gradient.
    """
    left = gradient.flatten(1)
    values = torch.linalg.eigvalsh(left @ left.T).clamp_min(0).flip(0).sqrt()
    top = float(values[0].clamp_min(1e-300))
    values, floor = values / top, floor / top
    energy = gradient.square().flatten(2).sum(2)
    live = min(int((energy.sum(d) > 1e-12 * energy.sum()).sum()) for d in (0, 1))
    if floor > noise:
        rank = max(1, int((values > ABOVE * floor).sum()))
        return Spectrum(values=values, rank=rank, gap=float(values[rank - 1]) / floor, positions=positions, live=live)
    steps = torch.cat([values, values.new_full((1,), noise / 3)]).clamp_min(noise / 30)
    ratio = steps[:-1] / steps[1:]
    ratio = torch.where((values > noise) & (steps[1:] < FOOT), ratio, 0.0)
    rank = int(ratio.argmax()) + 1
    return Spectrum(values=values, rank=rank, gap=float(ratio.max()), positions=positions, live=live)


def delta_maps(gradient: Tensor, size: tuple[int, int], examples: int) -> Tensor:
    """Delta maps up to a mixing of examples: [out, examples, height, width].

    Args:
        gradient: [out, in, kernel, kernel] of a layer with `Layer.shifts()`.
        size: height and width of the map; height * width * examples may not exceed the channels.
    """
    height, width = size
    rank = height * width * examples
    out, _, down, across = gradient.shape
    flat = gradient.reshape(out, -1)
    left = torch.linalg.eigh(flat @ flat.T).eigenvectors[:, -rank:]
    slices = torch.einsum("or,oikl->klri", left, gradient)
    middle = (down // 2, across // 2)
    inverse = torch.linalg.pinv(slices[middle], rtol=1e-9)

    def shift(dy: int, dx: int) -> Tensor:
        return slices[middle[0] + dy, middle[1] + dx] @ inverse

    # T_k moves the delta of position p to p + k; columns of G at the corner vanish under every move out of the map.
    moves = [shift(*step) for step in ((1, 0), (0, 1), (1, 1), (1, -1), (-1, 1))]
    killed = torch.linalg.svd(torch.cat(moves)).Vh
    columns = left.new_zeros(height, width, rank, examples)
    columns[0, 0] = killed[-examples:].T
    right, below = shift(0, -1), shift(-1, 0)
    for y in range(height):
        for x in range(width):
            if x:
                columns[y, x] = right @ columns[y, x - 1]
            elif y:
                columns[y, x] = below @ columns[y - 1, x]
    return torch.einsum("or,yxrb->obyx", left, columns)
