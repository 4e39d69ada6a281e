"""Exact recursion through GroupNorm and LayerNorm on CIFAR-10, one example, without labels or batch size.

    GRADIOMETER_DATA=... python benchmarks/recursion_norms.py perceptron lenet48 lenet24 unbiased48 layer48
    GRADIOMETER_DATA=... python benchmarks/recursion_norms.py resnet18 --draws 5

`lenet48` and `lenet24` are LeNet's convolutions with GroupNorm of four groups behind each, `unbiased48` the same without
biases, `layer48` with LayerNorm; `perceptron` has two hidden layers of 256 and 128 with LayerNorm; `resnet18` is what
BatchNormToGroupNorm makes of ResNet18. Pictures and seconds as in `recursion.py`, whose rows these are.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import nn

from gradiometer.defenses import BatchNormToGroupNorm
from gradiometer.models import resnet18
from recursion import row


def lenet(seed: int, channels: int, *, bias: bool = True, layer: bool = False) -> nn.Module:
    """Three 5x5 convolutions, each with its normalization and a ReLU, and a linear head."""
    torch.manual_seed(seed)
    network, inside = nn.Sequential(), 3
    for stride, side in ((2, 16), (2, 8), (1, 8)):
        normal = nn.LayerNorm([channels, side, side]) if layer else nn.GroupNorm(4, channels)
        network.extend([nn.Conv2d(inside, channels, 5, stride, 2, bias=bias), normal, nn.ReLU()])
        inside = channels
    return network.extend([nn.Flatten(), nn.Linear(64 * channels, 10)])


def perceptron(seed: int) -> nn.Module:
    """Two hidden layers with LayerNorm."""
    torch.manual_seed(seed)
    network, inside = nn.Sequential(nn.Flatten()), 3072
    for width in (256, 128):
        network.extend([nn.Linear(inside, width), nn.LayerNorm(width), nn.ReLU()])
        inside = width
    return network.append(nn.Linear(inside, 10))


NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "perceptron": perceptron,
    "lenet48": lambda seed: lenet(seed, 48),
    "lenet24": lambda seed: lenet(seed, 24),
    "unbiased48": lambda seed: lenet(seed, 48, bias=False),
    "layer48": lambda seed: lenet(seed, 48, layer=True),
    "resnet18": lambda seed: BatchNormToGroupNorm().on_model(resnet18((3, 32, 32), 10, seed=seed)),
}


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", choices=NETWORKS)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--sheet", default="cifar10_test3000")
    options = parser.parse_args()
    torch.optim.LBFGS([torch.zeros(1, requires_grad=True)])  # imports what torch loads on first use
    for name in options.networks:
        row(f"{name}, batch 1", NETWORKS[name], 1, options.draws, options.sheet, (0.0, 0.0, float("inf")))


if __name__ == "__main__":
    main()
