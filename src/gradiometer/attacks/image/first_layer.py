"""The biased linear layer where a model begins, whose gradients show its inputs."""

from __future__ import annotations

from torch import nn

from gradiometer.core import NotApplicable
from gradiometer.numerics.layers import Layer


def biased_linear(layers: list[Layer], attack: str) -> Layer:
    """The first linear layer whose weight and bias gradients were sent, if no trained layer of another kind is before.

    Args:
        layers: in the order in which they run; attack: who asks, for the error.

    Raises:
        NotApplicable: there is none.
    """
    for layer in layers:
        if layer.linear and {"weight", "bias"} <= layer.sends:
            return layer
        if layer.sends and not layer.linear and not _normalizes(layer.module):
            raise NotApplicable(
                f"{attack} needs a linear layer with a bias where the model begins, and its first trained layer "
                f"{layer.name!r} is a {type(layer.module).__name__}",
                fix="choose an optimization attack, such as InvertingGradients",
            )
    raise NotApplicable(
        f"{attack} needs a linear layer with a bias, and the model trains none",
        fix="choose an optimization attack, such as InvertingGradients",
    )


def _normalizes(module: nn.Module) -> bool:
    return isinstance(module, (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm))
