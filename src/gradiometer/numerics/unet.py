"""A small U-Net from pictures to better pictures, at one level of noise or at any."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (16, 48, 160)
"""Channels at full, half and quarter size: 0.4 million parameters, most of them where pictures are small."""


class UNet(nn.Module):
    """x + network(x, level): two halvings, two doublings with skips; before training it is the identity.

    Args:
        channels: of the pictures, whose sides may have any length.
        widths: channels at full, half and quarter size.
        levels: entries that describe the level of noise of a picture, which scale and shift what every block has normalized; 0: none are given.

    References:
        Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", 2015,
        arXiv:1505.04597.
    """

    def __init__(self, channels: int, *, widths: tuple[int, int, int] = WIDTHS, levels: int = 0) -> None:
        super().__init__()
        first, second, third = widths
        self.down = nn.ModuleList([Block(channels, first, levels), Block(first, second, levels)])
        self.middle = Block(second, third, levels)
        self.up = nn.ModuleList([Block(third + second, second, levels), Block(second + first, first, levels)])
        self.last = nn.Conv2d(first, channels, 1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        """[n, channels, height, width], kept; level [n, levels]."""
        height, width = x.shape[2:]
        h = F.pad(x, (0, -width % 4, 0, -height % 4), mode="replicate")
        skips = []
        for block in self.down:
            h = block(h, level)
            skips.append(h)
            h = F.avg_pool2d(h, 2)
        h = self.middle(h, level)
        for block, skip in zip(self.up, reversed(skips)):
            h = block(torch.cat([F.interpolate(h, scale_factor=2.0), skip], 1), level)
        changed: Tensor = self.last(h)[:, :, :height, :width]
        return x + changed


class Block(nn.Module):
    """Two convolutions with SiLU; the first is normalized, and then scaled and shifted by the level."""

    def __init__(self, inputs: int, outputs: int, levels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm = nn.GroupNorm(math.gcd(8, outputs), outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.level = nn.Linear(levels, 2 * outputs) if levels else None

    def forward(self, x: Tensor, level: Tensor | None) -> Tensor:
        h = self.norm(self.first(x))
        if self.level is not None and level is not None:
            scale, shift = self.level(level)[:, :, None, None].chunk(2, 1)
            h = h * (1 + scale) + shift
        found: Tensor = F.silu(self.second(F.silu(h)))
        return found
