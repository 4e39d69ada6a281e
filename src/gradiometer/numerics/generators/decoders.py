"""Architectures of generators, as blocks in a row: what lies between two blocks can be searched as well as the latent vector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

Shape = tuple[int, int, int]
SMALLEST_GRID = 8
"""Pictures grow by doubling from a grid of at most so many cells a side, in at least two steps."""


class Window(nn.Module):
    """The upper left corner: doubling makes sides that the picture may not have."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, x: Tensor) -> Tensor:
        return x[..., : self.height, : self.width]


class Halved(nn.Module):
    """From the range of tanh to that of pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return (x + 1) / 2


def doublings(shape: Shape) -> int:
    """How often the grid is doubled on the way to the picture."""
    return max(2, math.ceil(math.log2(max(shape[1:]) / SMALLEST_GRID)))


def convolutional(shape: Shape, *, latent: int, width: int) -> nn.Sequential:
    """A linear map to a coarse grid, then transposed convolutions that double it, each with batch normalization and leaky ReLU.

    Args:
        shape: of the picture, [channels, height, width].
        latent: entries of the latent vector.
        width: channels at the finest grid; twice as many at each coarser one.

    Returns:
        Blocks from [n, latent] to pixels [n, *shape] in [0,1].

    References:
        Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
        Networks", 2015, arXiv:1511.06434.
    """
    times = doublings(shape)
    grid = [-(-side // 2**times) for side in shape[1:]]
    channels = width * 2**times
    first = nn.Sequential(
        nn.Linear(latent, channels * grid[0] * grid[1], bias=False),
        nn.Unflatten(1, (channels, *grid)),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(0.2),
    )
    blocks: list[nn.Module] = [first]
    for step in range(times):
        parts: list[nn.Module] = [
            nn.ConvTranspose2d(channels, channels // 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(channels // 2),
            nn.LeakyReLU(0.2),
        ]
        channels //= 2
        if step == times - 1:
            parts += [nn.Conv2d(channels, shape[0], 3, padding=1), Window(*shape[1:]), nn.Sigmoid()]
        blocks.append(nn.Sequential(*parts))
    return nn.Sequential(*blocks)


def perceptron(shape: Shape, *, widths: Sequence[int], output: str) -> nn.Sequential:
    """Fully connected layers with ReLU, one a block.

    Args:
        widths: entries of the latent vector, then of each hidden layer.
        output: `sigmoid`, or `tanh` whose range is brought to that of pixels.
    """
    sizes = [*widths, math.prod(shape)]
    blocks = [nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(sizes[:-1])]
    end = [nn.Tanh(), Halved()] if output == "tanh" else [nn.Sigmoid()]
    blocks.append(nn.Sequential(nn.Linear(sizes[-2], sizes[-1]), *end, nn.Unflatten(1, shape)))
    return nn.Sequential(*blocks)
