"""A second look at a channel's slopes, through the weight gradient of the layer that they enter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from gradiometer.numerics.recursion.checksum import Units, by_channel
from gradiometer.numerics.recursion.graph import Layer
from gradiometer.numerics.recursion.second_look import flips

ERROR = 1e-3
SHAPE = (2, 8, 8, 8)


def case(small: float) -> tuple[Layer, Tensor, Tensor, Tensor, Units, list[int]]:
    """A convolution's input, assumed delta and noisy gradient; channel 3 has an ordinary and a `small` unit wrong."""
    rng = torch.Generator().manual_seed(0)
    weight, value, delta, noise = (
        torch.randn(size, generator=rng, dtype=torch.float64) for size in ((8, 16, 3, 3), (2, 16, 8, 8), SHAPE, SHAPE)
    )
    layer = Layer(
        apply=lambda x: F.conv2d(x, weight, padding=1),
        where="conv",
        weight=weight,
        weight_name="weight",
        stride=(1, 1),
        padding=(1, 1),
        dilation=(1, 1),
    )
    units, wrong = by_channel(delta), [10, 70]
    units[3, wrong[1]] = small
    slope = (by_channel(noise) > 0).double()
    price = by_channel(noise).square() * 100
    price[3, wrong] = 4.0
    true = slope.clone()
    true[3, wrong] = 1 - true[3, wrong]
    maps = [(units * s).reshape(8, 2, 8, 8).transpose(0, 1) for s in (slope, true)]
    gradient = conv2d_weight(value, (8, 16, 3, 3), maps[1], padding=1)
    gradient += ERROR * torch.randn(gradient.shape, generator=rng, dtype=torch.float64)
    found = Units(price=price, delta=units, slope=slope, other=1 - slope)
    return layer, value, maps[0], gradient, found, wrong


@pytest.mark.parametrize("small", [1.0, 0.02, 2 * ERROR])
def test_a_wrong_unit_is_found_however_little_it_adds_to_each_row(small: float) -> None:
    """The last one adds to each of 144 rows twice the row's error, and far less than an ordinary unit does."""
    layer, value, delta, gradient, found, wrong = case(small)

    def effects(patches: Tensor, units: Tensor) -> Tensor:
        return patches[:, units] * found.change(3, units)

    mended = flips(layer, value, delta, gradient, found, effects, 3, ERROR)
    assert mended is not None
    assert sorted(mended.tolist()) == wrong


def test_what_no_slopes_explain_is_refused() -> None:
    layer, value, delta, gradient, found, _ = case(1.0)
    gradient[3] += torch.randn(gradient[3].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mended = flips(
        layer,
        value,
        delta,
        gradient,
        found,
        lambda patches, units: patches[:, units] * found.change(3, units),
        3,
        ERROR,
    )
    assert mended is None
