"""VGG for small pictures: stacks of 3x3 convolutions between max poolings by two, and one linear head."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from gradiometer.core import BadConfig, Card

from .building import check_shape, seeded

vgg11_card = Card(
    summary="Eight 3x3 convolutions with batch normalization, five max poolings and a linear head.",
    title="Very Deep Convolutional Networks for Large-Scale Image Recognition",
    authors="Simonyan, Zisserman",
    year=2014,
    arxiv="1409.1556",
    modality="image",
    family="convolution",
    departs="batch normalization, and one linear layer as head, as is usual for small pictures",
)
vgg16_card = replace(
    vgg11_card, summary="Thirteen 3x3 convolutions with batch normalization, five max poolings and a linear head."
)
WIDTHS = (64, 128, 256, 512, 512)


def vgg11(shape: tuple[int, int, int], classes: int, *, width: float = 1.0, seed: int = 0) -> nn.Sequential:
    """Configuration A of the paper: 1, 1, 2, 2, 2 convolutions of 64, 128, 256, 512, 512 channels.

    Layers are named `conv0`, `bn0`, `relu0`, ..., `pool0`, ..., `linear`; weights are torch's defaults. Each stack ends
    in a max pooling by two, left out once a side of the maps is a single position.

    Args:
        width: factor on all channel counts.

    References:
        Simonyan, Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, 2014, arXiv:1409.1556.
    """
    return _vgg("vgg11", shape, classes, (1, 1, 2, 2, 2), width, seed)


def vgg16(shape: tuple[int, int, int], classes: int, *, width: float = 1.0, seed: int = 0) -> nn.Sequential:
    """Configuration D of the paper: 2, 2, 3, 3, 3 convolutions. Otherwise as `vgg11`."""
    return _vgg("vgg16", shape, classes, (2, 2, 3, 3, 3), width, seed)


def _vgg(
    model: str, shape: tuple[int, int, int], classes: int, depths: tuple[int, ...], width: float, seed: int
) -> nn.Sequential:
    check_shape(model, shape, classes)
    widths = [round(width * channels) for channels in WIDTHS]
    if min(widths) < 1:
        raise BadConfig(f"{model} is left without channels: its stacks would have {widths}", fix="raise width")
    network = nn.Sequential()
    inside, height, across = shape
    with seeded(seed):
        number = 0
        for i, (depth, outside) in enumerate(zip(depths, widths)):
            for _ in range(depth):
                network.add_module(f"conv{number}", nn.Conv2d(inside, outside, 3, padding=1))
                network.add_module(f"bn{number}", nn.BatchNorm2d(outside))
                network.add_module(f"relu{number}", nn.ReLU())
                inside, number = outside, number + 1
            if min(height, across) > 1:
                network.add_module(f"pool{i}", nn.MaxPool2d(2))
                height, across = height // 2, across // 2
        network.add_module("flatten", nn.Flatten())
        network.add_module("linear", nn.Linear(inside * height * across, classes))
    return network
