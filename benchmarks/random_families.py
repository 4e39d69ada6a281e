"""Random networks of the families that `recursion_meter.py` draws with `--families more`: max pooling, bottlenecks, transformers."""

from __future__ import annotations

import random
from typing import Literal

import torch
from torch import nn

from gradiometer.models import convnet64, vgg11, vit
from gradiometer.models.bottleneck import Bottleneck
from gradiometer.models.resnet import ResNet


def pooled(draw: random.Random, side: int) -> nn.Sequential:
    """A plain network of two to four 3x3 convolutions with max poolings between some, and a linear head."""
    normal, parts, width = draw.random() < 0.5, list[nn.Module](), 3
    for i in range(draw.randint(2, 4)):
        out = draw.choice([16, 24, 32, 48, 64, 96, 128])
        parts += [nn.Conv2d(width, out, 3, padding=1), *([nn.BatchNorm2d(out)] if normal else []), nn.ReLU()]
        width = out
        if side > 4 and (i == 0 or draw.random() < 0.5):
            parts.append(nn.MaxPool2d(2))
            side //= 2
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(width * side * side, 10))


def bottlenecks(draw: random.Random) -> ResNet:
    """Two to four stages of one bottleneck block or two."""
    first, stages = draw.choice([32, 64, 128]), draw.randint(2, 4)
    widths = [first * 2**i for i in range(stages)]
    depths = [draw.choice([1, 1, 2]) for _ in widths]
    return ResNet(3, 10, Bottleneck, widths=widths, depths=depths, inside=first // 4 * draw.choice([1, 2, 4]))


def network(seed: int) -> tuple[str, nn.Module, int, int]:
    """Kind, network, side of its pictures and batch size of a seed."""
    draw = random.Random(f"more {seed}")
    kind = draw.choice(["pooled"] * 4 + ["bottlenecks"] * 3 + ["vit"] * 2 + ["convnet64", "vgg11"])
    side, examples = draw.choice([16, 24, 32]), draw.choice([1, 1, 1, 1, 2])
    shape = (3, side, side)
    torch.manual_seed(seed)
    if kind == "pooled":
        return kind, pooled(draw, side).eval(), side, examples
    if kind == "bottlenecks":
        return kind, bottlenecks(draw).eval(), side, examples
    if kind == "vit":
        patch, width, depth = draw.choice([4, 8]), draw.choice([32, 48, 64, 96]), draw.randint(1, 3)
        pools: list[Literal["class", "mean"]] = ["class", "mean"]
        pool = draw.choice(pools)
        made = vit(shape, 10, patch=patch, width=width, depth=depth, pool=pool, seed=seed)
        return f"{kind}, patch {patch}, width {width}, {pool}", made.eval(), side, examples
    if kind == "convnet64":
        width = draw.choice([8, 16, 32, 64])
        return f"{kind}, width {width}", convnet64(shape, 10, width=width, seed=seed).eval(), side, examples
    scale = draw.choice([0.25, 0.5, 1.0])
    return f"{kind}, width {scale}", vgg11(shape, 10, width=scale, seed=seed).eval(), side, examples
