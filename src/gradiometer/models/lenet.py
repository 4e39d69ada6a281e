"""LeNet as the gradient-inversion literature uses it: three convolutions of 12 channels and a linear head."""

from __future__ import annotations

from torch import nn

from gradiometer.core import Card

from .building import ACTIVATIONS, check_shape, choose, seeded

lenet_card = Card(
    summary="Three 5x5 convolutions and a linear head; twice differentiable with the sigmoid, DLG's easy victim.",
    title="Deep Leakage from Gradients",
    authors="Zhu, Liu, Han",
    year=2019,
    arxiv="1906.08935",
    modality="image",
    family="convolution",
)


def lenet(
    shape: tuple[int, int, int], classes: int, *, activation: str = "sigmoid", channels: int = 12, seed: int = 0
) -> nn.Sequential:
    """Convolutions 5x5 with strides 2, 2, 1 and padding 2, then one linear layer.

    With the sigmoid, every weight and bias is uniform in (-1/2, 1/2), as in DLG: torch's smaller weights would leave
    the sigmoids almost linear and second derivatives too small to follow. Other activations keep torch's defaults.

    Args:
        activation: `sigmoid`, `tanh`, `relu`, `leaky_relu`, `gelu` or `silu`.
        channels: of every convolution.

    Raises:
        BadConfig: an unknown activation, or no picture shape.

    References:
        Zhu, Liu, Han, Deep Leakage from Gradients, 2019, arXiv:1906.08935.
    """
    check_shape("lenet", shape, classes)
    between = choose("activation", activation, ACTIVATIONS)
    height, width = ((side + 3) // 4 for side in shape[1:])
    with seeded(seed):
        model = nn.Sequential(
            nn.Conv2d(shape[0], channels, 5, padding=2, stride=2),
            between(),
            nn.Conv2d(channels, channels, 5, padding=2, stride=2),
            between(),
            nn.Conv2d(channels, channels, 5, padding=2, stride=1),
            between(),
            nn.Flatten(),
            nn.Linear(channels * height * width, classes),
        )
        if activation == "sigmoid":
            for parameter in model.parameters():
                nn.init.uniform_(parameter, -0.5, 0.5)
    return model
