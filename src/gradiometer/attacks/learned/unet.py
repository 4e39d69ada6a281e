"""A small U-Net from pictures to better pictures."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (16, 48, 160)
"""Channels at full, half and quarter size: 0.4 million parameters, most of them where pictures are small."""


class UNet(nn.Module):
    """x + network(x): two halvings, two doublings with skips; before training it is the identity.

    Args:
        channels: of the pictures, whose sides may have any length.

    References:
        Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", 2015,
        arXiv:1505.04597.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second, third = WIDTHS
        self.down = nn.ModuleList([_block(channels, first), _block(first, second)])
        self.middle = _block(second, third)
        self.up = nn.ModuleList([_block(third + second, second), _block(second + first, first)])
        self.last = nn.Conv2d(first, channels, 1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[n, channels, height, width], kept."""
        height, width = x.shape[2:]
        h = F.pad(x, (0, -width % 4, 0, -height % 4), mode="replicate")
        skips = []
        for block in self.down:
            h = block(h)
            skips.append(h)
            h = F.avg_pool2d(h, 2)
        h = self.middle(h)
        for block, skip in zip(self.up, reversed(skips)):
            h = block(torch.cat([F.interpolate(h, scale_factor=2.0), skip], 1))
        changed: Tensor = self.last(h)[:, :, :height, :width]
        return x + changed


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.GroupNorm(8, outputs),
        nn.SiLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.SiLU(),
    )
