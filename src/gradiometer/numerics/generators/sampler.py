"""A diffusion model: one network that removes noise of every level, and pictures that grow out of noise by it."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradiometer.numerics.unet import UNet

from .decoders import Shape

HIGHEST, LOWEST, BEND = 20.0, 0.02, 7.0
"""Levels of noise in units of the pictures' standard deviation, and how much denser they lie at the low end."""
STEPS = 20
"""From noise to a picture."""
ENTRIES, FASTEST = 32, 4.0
"""How a level is described to the network: sines and cosines of its logarithm."""


class Diffusion(nn.Module):
    """The map from z to a picture, by the reverse of adding noise; D(x, s), the mean of all pictures behind a noisy one, is its step.

    D(x, s) = x / (s^2 + 1) + s / sqrt(s^2 + 1) U(x / sqrt(s^2 + 1), log s), where pictures have mean 0 and standard deviation 1. A step
    (DDIM) from level s to t keeps the noise that D sees: x -> D + t / s (x - D).

    Args:
        shape: of the pictures, [channels, height, width]; the network sees them with 2 x 2 pixels as channels.
        width: of the network, an eighth of its channels where pictures are smallest.

    References:
        Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", 2020, arXiv:2006.11239.
        Song, Meng, Ermon, "Denoising Diffusion Implicit Models", 2020, arXiv:2010.02502.
        Karras, Aittala, Aila, Laine, "Elucidating the Design Space of Diffusion-Based Generative Models", 2022, arXiv:2206.00364.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, shape: Shape, width: int) -> None:
        super().__init__()
        self.shape = shape
        self.described = nn.Sequential(nn.Linear(ENTRIES, ENTRIES), nn.SiLU())
        self.network = UNet(4 * shape[0], widths=(2 * width, 4 * width, 8 * width), levels=ENTRIES)
        self.register_buffer("mean", torch.tensor(0.5))
        self.register_buffer("std", torch.tensor(0.5))

    def forward(self, z: Tensor) -> Tensor:
        """Pictures [n, *shape] in [0,1] from z [n, entries]."""
        levels = self.levels(STEPS)
        x = levels[0] * z.view(-1, *self.shape)
        for level, below in pairwise([*levels, 0.0]):
            x = self.stepped(x, self.clean(x, level), level, below)
        return self.pixels(x).clamp(0, 1)

    def clean(self, x: Tensor, level: float | Tensor) -> Tensor:
        """D: what is expected behind pictures with noise of this level (one for all, or each its own [n])."""
        s = torch.as_tensor(level, dtype=x.dtype, device=x.device).expand(len(x))
        total, log = (s.square() + 1)[:, None, None, None], s.log()[:, None]
        waves = log * torch.linspace(0, math.log(FASTEST), ENTRIES // 2, dtype=x.dtype, device=x.device).exp()
        told = self.described(torch.cat([waves.sin(), waves.cos()], 1))
        height, width = x.shape[2:]
        folded = F.pixel_unshuffle(F.pad(x / total.sqrt(), (0, width % 2, 0, height % 2), mode="replicate"), 2)
        found = F.pixel_shuffle(self.network(folded, told), 2)[..., :height, :width]
        return x / total + s[:, None, None, None] / total.sqrt() * found

    def stepped(self, x: Tensor, clean: Tensor, level: float, below: float) -> Tensor:
        """From one level of noise to another, with the noise that is seen beside this clean picture."""
        return clean + below / level * (x - clean)

    def levels(self, n: int, highest: float = HIGHEST) -> list[float]:
        """n levels, falling."""
        ends = [level ** (1 / BEND) for level in (highest, LOWEST)]
        return [(ends[0] + i / max(n - 1, 1) * (ends[1] - ends[0])) ** BEND for i in range(n)]

    def pixels(self, x: Tensor) -> Tensor:
        """From units of the standard deviation to those of pixels."""
        return x * self.std + self.mean

    def scaled(self, pixels: Tensor) -> Tensor:
        """The way back."""
        return (pixels - self.mean) / self.std


def diffusion_of(blocks: nn.Sequential) -> Diffusion | None:
    """The diffusion model that these blocks are; None for other generators."""
    return blocks[0] if len(blocks) == 1 and isinstance(blocks[0], Diffusion) else None
