"""Residual networks for small pictures, with a 3x3 stem without pooling (the CIFAR stem), or the original stem."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from gradiometer.core import BadConfig, Card

from .building import check_shape, choose, seeded

Shortcut = Literal["pad", "project", "none"]
Init = Literal["he", "torch"]
Stem = Literal["cifar", "imagenet"]

resnet20_card = Card(
    summary="Nine residual blocks of 16, 32, 64 channels with batch normalization.",
    title="Deep Residual Learning for Image Recognition",
    authors="He, Zhang, Ren, Sun",
    year=2016,
    arxiv="1512.03385",
    modality="image",
    family="residual",
)
resnet18_card = replace(
    resnet20_card,
    summary="Eight residual blocks of 64 to 512 channels with batch normalization.",
    departs="a 3x3 stem of stride 1 without pooling, as is usual for small pictures",
)


class _Pad(nn.Module):
    """Shortcut without parameters: every `stride`-th pixel, and zeros for the new channels on both sides."""

    def __init__(self, stride: int, extra: int) -> None:
        super().__init__()
        self.stride, self.extra = stride, extra

    def forward(self, x: Tensor) -> Tensor:
        before = self.extra // 2
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.extra - before))


def _shortcut(kind: Shortcut, inside: int, outside: int, stride: int) -> nn.Module:
    if stride == 1 and inside == outside:
        return nn.Identity()
    if kind == "pad":
        return _Pad(stride, outside - inside)
    return nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))


class Block(nn.Module):
    """Two 3x3 convolutions and a way around them."""

    def __init__(self, inside: int, outside: int, stride: int, kind: Shortcut, preactivation: bool) -> None:
        super().__init__()
        self.preactivation = preactivation
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inside if preactivation else outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.shortcut = None if kind == "none" else _shortcut(kind, inside, outside, stride)

    def forward(self, x: Tensor) -> Tensor:
        if self.preactivation:
            active = F.relu(self.bn1(x))
            out = self.conv2(F.relu(self.bn2(self.conv1(active))))
            # Where the shape changes, the way around starts after the activation (He et al. 2016b, section 3).
            around = x if isinstance(self.shortcut, nn.Identity) else active
            return out if self.shortcut is None else out + self.shortcut(around)
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out if self.shortcut is None else out + self.shortcut(x))


class ResNet(nn.Module):
    """Stem, stages `layer1`, `layer2`, ... that halve the picture between them, global mean, linear head.

    Args:
        block: makes a residual block of the numbers of channels in and out, and the stride.
        widths, depths: channels that each stage gives, and how many blocks it has.
        stem: `cifar` (3x3), or `imagenet` (7x7 of stride 2, then a 3x3 max pooling of stride 2).
        inside: channels of the stem; None for those of the first stage.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        block: Callable[[int, int, int], nn.Module],
        *,
        widths: Sequence[int],
        depths: Sequence[int],
        preactivation: bool = False,
        stem: Stem = "cifar",
        inside: int | None = None,
    ) -> None:
        super().__init__()
        self.stages = [f"layer{i + 1}" for i in range(len(widths))]
        self.preactivation = preactivation
        inside = inside or widths[0]
        kernel, stride, padding = (3, 1, 1) if stem == "cifar" else (7, 2, 3)
        self.conv1 = nn.Conv2d(channels, inside, kernel, stride, padding, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[-1] if preactivation else inside)
        self.pool = nn.Identity() if stem == "cifar" else nn.MaxPool2d(3, 2, 1)
        for i, (name, outside, depth) in enumerate(zip(self.stages, widths, depths)):
            blocks = []
            for stride in [2 if i else 1, *[1] * (depth - 1)]:
                blocks.append(block(inside, outside, stride))
                inside = outside
            self.add_module(name, nn.Sequential(*blocks))
        self.linear = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        if not self.preactivation:
            x = F.relu(self.bn1(x))
        x = self.pool(x)
        for name in self.stages:
            x = self.get_submodule(name)(x)
        if self.preactivation:
            x = F.relu(self.bn1(x))
        return self.linear(x.mean((2, 3)))


def _resnet(
    model: str,
    shape: tuple[int, int, int],
    classes: int,
    widths: list[int],
    depth: int,
    shortcut: Shortcut,
    preactivation: bool,
    init: Init,
    seed: int,
    stem: Stem = "cifar",
) -> ResNet:
    check_shape(model, shape, classes, smallest=4)
    choose("shortcut", shortcut, dict.fromkeys(("pad", "project", "none")))
    choose("stem", stem, dict.fromkeys(("cifar", "imagenet")))
    if min(widths) < 1:
        raise BadConfig(f"{model} is left without channels: its stages would have {widths}", fix="raise width")
    choose("init", init, dict.fromkeys(("he", "torch")))

    def block(inside: int, outside: int, stride: int) -> nn.Module:
        return Block(inside, outside, stride, shortcut, preactivation)

    with seeded(seed):
        depths = [depth] * len(widths)
        network = ResNet(shape[0], classes, block, widths=widths, depths=depths, preactivation=preactivation, stem=stem)
        for module in network.modules():
            if init == "he" and isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        return network


def resnet20(
    shape: tuple[int, int, int],
    classes: int,
    *,
    width: float = 1.0,
    shortcut: Shortcut = "pad",
    preactivation: bool = False,
    init: Init = "he",
    seed: int = 0,
) -> ResNet:
    """Three stages of three blocks with 16, 32, 64 channels: the network of He et al. for CIFAR-10.

    Parameter names are those of the widespread public implementations, so that published CIFAR-10 weights load.

    Args:
        width: factor on all channel counts.
        shortcut: `pad` (the paper's option A), `project` (option B), or `none` (a plain network, for comparison).
        preactivation: normalization and ReLU before every convolution instead of after it.
        init: of the convolutions: `he`, the paper's normal distribution, or `torch`, the smaller default of torch. In
            eval mode an untrained `he` network answers with logits of ten and more: an example that it happens to
            classify right leaves hardly any gradient.

    References:
        He, Zhang, Ren, Sun, Deep Residual Learning for Image Recognition, 2016, arXiv:1512.03385.
        He, Zhang, Ren, Sun, Identity Mappings in Deep Residual Networks, 2016, arXiv:1603.05027 (`preactivation`).
    """
    widths = [round(width * channels) for channels in (16, 32, 64)]
    return _resnet("resnet20", shape, classes, widths, 3, shortcut, preactivation, init, seed)


def resnet18(
    shape: tuple[int, int, int],
    classes: int,
    *,
    width: float = 1.0,
    shortcut: Shortcut = "project",
    preactivation: bool = False,
    init: Init = "he",
    stem: Stem = "cifar",
    seed: int = 0,
) -> ResNet:
    """Four stages of two blocks with 64, 128, 256, 512 channels.

    Args and references: as `resnet20`.
        stem: `cifar`, a 3x3 convolution, or `imagenet`, the paper's 7x7 of stride 2 with a max pooling behind it.
    """
    widths = [round(width * channels) for channels in (64, 128, 256, 512)]
    return _resnet("resnet18", shape, classes, widths, 2, shortcut, preactivation, init, seed, stem)
