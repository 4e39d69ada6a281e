"""Wide residual networks: few pre-activation blocks of many channels."""

from __future__ import annotations

from torch import nn

from gradiometer.core import BadConfig, Card

from .building import check_shape, seeded
from .resnet import Block, ResNet

wide_resnet_card = Card(
    summary="Pre-activation residual blocks of 64, 128, 256 channels (WRN-16-4 by default).",
    title="Wide Residual Networks",
    authors="Zagoruyko, Komodakis",
    year=2016,
    arxiv="1605.07146",
    modality="image",
    family="residual",
)


def wide_resnet(shape: tuple[int, int, int], classes: int, *, depth: int = 16, widen: int = 4, seed: int = 0) -> ResNet:
    """WRN-depth-widen: a stem of 16 channels, three stages of 16, 32, 64 times `widen` channels. torch's weights.

    Args:
        depth: layers, 6 n + 4 for n blocks a stage.

    Raises:
        BadConfig: no such depth, or a factor below one.

    References:
        Zagoruyko, Komodakis, Wide Residual Networks, 2016, arXiv:1605.07146.
    """
    check_shape("wide_resnet", shape, classes, smallest=4)
    if depth < 10 or (depth - 4) % 6 or widen < 1:
        raise BadConfig(f"there is no WRN-{depth}-{widen}", fix="choose a depth of 10, 16, 22, 28, ... and widen >= 1")

    def block(inside: int, outside: int, stride: int) -> nn.Module:
        made = Block(inside, outside, stride, "project", True)
        if isinstance(made.shortcut, nn.Sequential):
            made.shortcut = made.shortcut[0]  # the convolution alone: its normalization stands before it
        return made

    widths = [16 * widen, 32 * widen, 64 * widen]
    with seeded(seed):
        depths = [(depth - 4) // 6] * 3
        return ResNet(shape[0], classes, block, widths=widths, depths=depths, preactivation=True, inside=16)
