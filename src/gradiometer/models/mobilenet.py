"""MobileNetV2 for small pictures: 1x1 convolutions that widen, a convolution a channel, 1x1 convolutions that narrow."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from gradiometer.core import BadConfig, Card

from .building import check_shape, seeded

mobilenet_card = Card(
    summary="Seventeen inverted residual blocks with depthwise convolutions, ReLU6 and batch normalization.",
    title="MobileNetV2: Inverted Residuals and Linear Bottlenecks",
    authors="Sandler, Howard, Zhu, Zhmoginov, Chen",
    year=2018,
    arxiv="1801.04381",
    modality="image",
    family="residual",
    departs="stem and first narrow stage without stride, as is usual for small pictures; no dropout",
)
STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks and stride of every stage."""


class InvertedResidual(nn.Module):
    """1x1, depthwise 3x3, 1x1, without activation at the end; added to its input where shapes agree."""

    def __init__(self, inside: int, outside: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = expansion * inside
        self.expand = nn.Sequential() if expansion == 1 else _layer(inside, middle, 1, 1, 1)
        self.depthwise = _layer(middle, middle, 3, stride, middle)
        self.project = nn.Sequential(nn.Conv2d(middle, outside, 1, bias=False), nn.BatchNorm2d(outside))
        self.residual = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + out if self.residual else out


class MobileNetV2(nn.Module):
    """Stem, stages, one last 1x1 convolution, pooled linear head."""

    def __init__(self, channels: int, classes: int, width: float) -> None:
        super().__init__()
        inside, last = round(32 * width), round(1280 * max(width, 1.0))
        blocks: list[nn.Module] = []
        self.stem = _layer(channels, inside, 3, 1, 1)
        for expansion, wide, depth, stride in STAGES:
            outside = round(wide * width)
            for i in range(depth):
                blocks.append(InvertedResidual(inside, outside, stride if i == 0 else 1, expansion))
                inside = outside
        self.blocks = nn.Sequential(*blocks)
        self.last = _layer(inside, last, 1, 1, 1)
        self.linear = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        out = self.last(self.blocks(self.stem(x)))
        return self.linear(F.adaptive_avg_pool2d(out, 1).flatten(1))


def _layer(inside: int, outside: int, kernel: int, stride: int, groups: int) -> nn.Sequential:
    convolution = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU6())


def mobilenet(shape: tuple[int, int, int], classes: int, *, width: float = 1.0, seed: int = 0) -> MobileNetV2:
    """MobileNetV2 that halves the sides three times; torch's weights.

    Args:
        width: factor on all channel counts but that of the last convolution, which it may only raise.

    References:
        Sandler, Howard, Zhu, Zhmoginov, Chen, MobileNetV2: Inverted Residuals and Linear Bottlenecks, 2018,
        arXiv:1801.04381.
    """
    check_shape("mobilenet", shape, classes)
    if round(16 * width) < 1:
        raise BadConfig(f"mobilenet is left without channels at width {width}", fix="raise width")
    with seeded(seed):
        return MobileNetV2(shape[0], classes, width)
