"""ConvNet64: the convolutional victim on which Inverting Gradients and its successors report."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from gradiometer.core import Card

from .building import check_shape, seeded

convnet64_card = Card(
    summary="Eight 3x3 convolutions with batch normalization, two poolings and a wide linear head.",
    title="Inverting Gradients - How easy is it to break privacy in federated learning?",
    authors="Geiping, Bauermeister, Dröge, Moeller",
    year=2020,
    arxiv="2003.14053",
    modality="image",
    family="convolution",
)


def convnet64(shape: tuple[int, int, int], classes: int, *, width: int = 64, seed: int = 0) -> nn.Sequential:
    """Blocks of convolution, batch normalization and ReLU, two max-poolings by 3, a linear head.

    Channels: w, 2w, 2w, 4w, 4w, 4w, pool, 4w, 4w, pool. Layers are named `conv0`, `bn0`, `relu0`, ..., `linear` and
    weights are torch's defaults, as in the peers `invertinggradients` and `breaching`: weights can be exchanged.

    Args:
        width: w, 64 in the published figures.

    Raises:
        BadConfig: pictures below 9 x 9 pixels, which two poolings by three reduce to nothing.

    References:
        Geiping et al., Inverting Gradients, 2020, arXiv:2003.14053.
    """
    check_shape("convnet64", shape, classes, smallest=9)
    widths = [width, 2 * width, 2 * width, *[4 * width] * 5]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    with seeded(seed):
        for i, (inside, outside) in enumerate(zip([shape[0], *widths], widths)):
            layers[f"conv{i}"] = nn.Conv2d(inside, outside, 3, padding=1)
            layers[f"bn{i}"] = nn.BatchNorm2d(outside)
            layers[f"relu{i}"] = nn.ReLU()
            if i in (5, 7):
                layers[f"pool{i // 6}"] = nn.MaxPool2d(3)
        layers["flatten"] = nn.Flatten()
        layers["linear"] = nn.Linear(4 * width * (shape[1] // 9) * (shape[2] // 9), classes)
    return nn.Sequential(layers)
