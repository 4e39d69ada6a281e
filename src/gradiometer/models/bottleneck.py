"""ResNet50: residual blocks whose 3x3 convolution stands between two 1x1 convolutions of more channels."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn
from torch.nn import functional as F

from gradiometer.core import BadConfig

from .building import check_shape, choose, seeded
from .resnet import ResNet, Stem, resnet20_card

resnet50_card = replace(
    resnet20_card,
    summary="Sixteen bottleneck blocks of 256 to 2048 channels with batch normalization.",
    departs="the 3x3 convolution halves the picture, as in torchvision; the CIFAR stem unless asked otherwise",
)


class Bottleneck(nn.Module):
    """Convolutions 1x1, 3x3, 1x1, the inner ones with a quarter of the channels, and a way around them."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        middle = outside // 4
        self.conv1 = nn.Conv2d(inside, middle, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, outside, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outside)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inside != outside:
            self.shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        return F.relu(self.bn3(self.conv3(out)) + self.shortcut(x))


def resnet50(
    shape: tuple[int, int, int], classes: int, *, width: float = 1.0, stem: Stem = "cifar", seed: int = 0
) -> ResNet:
    """Four stages of 3, 4, 6, 3 bottleneck blocks with 256, 512, 1024, 2048 channels. torch's weights.

    Args:
        width: factor on all channel counts.
        stem: `cifar` (3x3), or `imagenet` (7x7 of stride 2, max pooling).

    References:
        He, Zhang, Ren, Sun, Deep Residual Learning for Image Recognition, 2016, arXiv:1512.03385.
    """
    check_shape("resnet50", shape, classes, smallest=4)
    choose("stem", stem, dict.fromkeys(("cifar", "imagenet")))
    middle = [round(width * channels) for channels in (64, 128, 256, 512)]
    if min(middle) < 1:
        raise BadConfig(f"resnet50 is left without channels: its blocks would have {middle}", fix="raise width")
    with seeded(seed):
        widths = [4 * channels for channels in middle]
        return ResNet(shape[0], classes, Bottleneck, widths=widths, depths=[3, 4, 6, 3], stem=stem, inside=middle[0])
