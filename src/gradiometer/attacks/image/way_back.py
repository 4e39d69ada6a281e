"""From the input of a layer back to the picture, through whatever the model does before that layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.core import NotApplicable, Update
from gradiometer.numerics.inversion import Inverse, invert
from gradiometer.numerics.layers import Layer, Probe, child
from gradiometer.numerics.linear import rank_one_input

_ENOUGH = 0.99
"""Share of the picture that must follow from the layer's input; below it, the layer is no way back."""


@dataclass(frozen=True, kw_only=True)
class WayBack:
    """`picture(features [in]) -> [1, *shape]`, and how: `reshape`, `direction` or `inversion`."""

    name: str
    picture: Callable[[Tensor], Tensor]

    @property
    def reshapes(self) -> bool:
        """Whether the layer sees the picture itself."""
        return self.name == "reshape"


def way_back(probe: Probe, layers: list[Layer], layer: Layer, update: Update, rng: torch.Generator) -> WayBack:
    """How to undo what comes before `layer`.

    Raises:
        NotApplicable: the layer's input does not determine the picture.
    """
    forward, gray = probe.to_layer(layer.name), probe.gray()
    if _same(forward, gray, rng):
        return WayBack(name="reshape", picture=lambda features: features.reshape(gray.shape))
    earlier = layers[: layers.index(layer)]
    blind = next((other for other in earlier if other.linear and "weight" in other.sends), None)
    if blind is not None and update.batch_size == 1:
        line = _line(probe, blind, update, rng)
        return WayBack(name="direction", picture=lambda features: _along(line, forward, features, rng))

    def picture(features: Tensor) -> Tensor:
        return _checked(invert(forward, features, gray, rng), layer).x

    if layer.inputs < gray.numel():
        raise NotApplicable(
            f"the input of layer {layer.name!r} has {layer.inputs} numbers and the picture {gray.numel()}",
            fix="choose an optimization attack, such as InvertingGradients",
        )
    return WayBack(name="inversion", picture=picture)


def _same(forward: Callable[[Tensor], Tensor], gray: Tensor, rng: torch.Generator) -> bool:
    x = torch.randn(gray.shape, generator=rng, dtype=gray.dtype)
    features = forward(x)
    return features.shape == x.flatten().shape and bool(torch.equal(features, x.flatten()))


def _checked(inverse: Inverse, layer: Layer) -> Inverse:
    if inverse.determined < _ENOUGH:
        raise NotApplicable(
            f"the input of layer {layer.name!r} fixes only {inverse.determined:.0%} of the picture",
            fix="choose an optimization attack, such as InvertingGradients",
        )
    return inverse


def _line(probe: Probe, blind: Layer, update: Update, rng: torch.Generator) -> Callable[[Tensor], Tensor]:
    """All pictures whose input at a layer without bias has the direction that its gradient, delta x^T, shows."""
    gradient = update.values[child(blind.name, "weight")].double()
    # Any column serves as the "bias": the fit then gives the others relative to it.
    pivot = int(gradient.square().sum(0).argmax())
    direction = rank_one_input(gradient, gradient[:, pivot])
    direction = direction / direction.norm()
    forward, gray = probe.to_layer(blind.name), probe.gray()
    origin, end = (_checked(invert(forward, t, gray, rng), blind).x for t in (torch.zeros_like(direction), direction))
    return lambda length: origin + length * (end - origin)


def _along(
    line: Callable[[Tensor], Tensor], forward: Callable[[Tensor], Tensor], features: Tensor, rng: torch.Generator
) -> Tensor:
    """The picture on a line that the later layer saw: one unknown, its signed length."""
    scale = line(torch.tensor(1.0, dtype=torch.float64)).numel() ** 0.5
    starts = [torch.tensor(sign * scale * size, dtype=torch.float64) for size in (0.3, 1.0) for sign in (1, -1)]
    found = [invert(lambda length: forward(line(length)), features, start, rng) for start in starts]
    return line(min(found, key=lambda inverse: inverse.residual).x)
