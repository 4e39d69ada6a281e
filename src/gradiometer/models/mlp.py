"""Multi-layer perceptron: linear layers with bias and one activation between them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from gradiometer.core import Card

from .building import ACTIVATIONS, check_shape, choose, seeded

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
    check_shape("mlp", shape, classes)
    between = choose("activation", activation, ACTIVATIONS)
    sizes = [shape[0] * shape[1] * shape[2], *widths, classes]
    layers: list[nn.Module] = [nn.Flatten()]
    with seeded(seed):
        for wide, narrow in pairwise(sizes):
            layers += [nn.Linear(wide, narrow), between()]
    return nn.Sequential(*layers[:-1])
