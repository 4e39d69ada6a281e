"""DenseNet-BC for small pictures: every layer reads the outputs of all layers before it, concatenated."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradiometer.core import BadConfig, Card

from .building import check_shape, seeded

densenet_card = Card(
    summary="Four blocks of densely connected bottleneck layers with batch normalization (DenseNet-121 by default).",
    title="Densely Connected Convolutional Networks",
    authors="Huang, Liu, van der Maaten, Weinberger",
    year=2016,
    arxiv="1608.06993",
    modality="image",
    family="convolution",
    departs="a stem of one 3x3 convolution, as the paper has for small pictures",
)


class DenseLayer(nn.Module):
    """Normalization, ReLU, 1x1 convolution and the same with 3x3; its output is appended to its input."""

    def __init__(self, inside: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(F.relu(self.bn1(x)))
        return torch.cat([x, self.conv2(F.relu(self.bn2(out)))], 1)


class DenseNet(nn.Module):
    """Stem, dense blocks with transitions that halve channels and sides between them, pooled linear head."""

    def __init__(self, channels: int, classes: int, depths: Sequence[int], growth: int) -> None:
        super().__init__()
        width = 2 * growth
        self.stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        stages = nn.Sequential()
        for i, depth in enumerate(depths, start=1):
            if i > 1:
                stages.add_module(f"transition{i - 1}", _transition(width, width // 2))
                width //= 2
            layers = [DenseLayer(width + growth * j, growth) for j in range(depth)]
            stages.add_module(f"block{i}", nn.Sequential(*layers))
            width += growth * depth
        self.stages = stages
        self.bn = nn.BatchNorm2d(width)
        self.linear = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn(self.stages(self.stem(x))))
        return self.linear(out.mean((2, 3)))


def _transition(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(inside), nn.ReLU(), nn.Conv2d(inside, outside, 1, bias=False), nn.AvgPool2d(2))


def densenet(
    shape: tuple[int, int, int],
    classes: int,
    *,
    depths: Sequence[int] = (6, 12, 24, 16),
    growth: int = 32,
    seed: int = 0,
) -> DenseNet:
    """DenseNet-BC with compression 0.5 and torch's weights: DenseNet-121, or with (16, 16, 16) and 12 the paper's L = 100.

    Args:
        depths: layers of each block; growth: channels that a layer appends.

    Raises:
        BadConfig: no blocks, an empty one, or no growth.

    References:
        Huang, Liu, van der Maaten, Weinberger, Densely Connected Convolutional Networks, 2016, arXiv:1608.06993.
    """
    if not depths or min(depths) < 1 or growth < 1:
        raise BadConfig(
            f"there is no DenseNet of depths {tuple(depths)} and growth {growth}", fix="give positive numbers"
        )
    check_shape("densenet", shape, classes, smallest=2 ** (len(depths) - 1))
    with seeded(seed):
        return DenseNet(shape[0], classes, depths, growth)
