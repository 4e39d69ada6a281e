"""Multi-layer perceptron: linear layers with bias and one activation between them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from gradiometer.core import Card

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
}

mlp_card = Card(
    summary="Linear layers with bias; the first one sees the raw input, so it leaks exactly.",
    modality="image",
    family="linear",
)


def mlp(
    shape: tuple[int, int, int],
    classes: int,
    *,
    widths: Sequence[int] = (1024, 1024),
    activation: str = "relu",
    seed: int = 0,
) -> nn.Sequential:
    """Flatten, then linear layers of the given widths, with torch's default initialization drawn from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes = [shape[0] * shape[1] * shape[2], *widths, classes]
        layers: list[nn.Module] = [nn.Flatten()]
        for wide, narrow in pairwise(sizes):
            layers += [nn.Linear(wide, narrow), ACTIVATIONS[activation]()]
        return nn.Sequential(*layers[:-1])
