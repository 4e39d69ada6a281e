"""The meter: batch size and verdict by counting and by spectra."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from gradiometer.models.convnet import convnet64
from gradiometer.models.lenet import lenet
from gradiometer.models.resnet import resnet18
from gradiometer.models.vgg import vgg11
from gradiometer.numerics.recursion.meter import Meter, meter
from gradiometer.numerics.recursion.tracing import trace


def measured(model: nn.Module, examples: int, side: int = 16) -> Meter:
    x = torch.rand(examples, 3, side, side, generator=torch.Generator().manual_seed(0))
    loss = F.cross_entropy(model.eval()(x), torch.arange(examples))
    names, parameters = zip(*model.named_parameters())
    values = {name: g.double() for name, g in zip(names, torch.autograd.grad(loss, parameters))}
    return meter(trace(model, (3, side, side)), values)


def test_width_decides_lenet() -> None:
    assert measured(lenet((3, 16, 16), 10, activation="relu", channels=48), 1).verdict == "exact"
    narrow = measured(lenet((3, 16, 16), 10, activation="relu", channels=4), 1)
    assert narrow.verdict == "partial"
    assert "too few" in narrow.reason


def test_the_batch_size_is_read_off_a_residual_network() -> None:
    model = resnet18((3, 16, 16), 10, width=0.5)
    for examples in (1, 3):
        found = measured(model, examples)
        assert found.examples == examples
        assert found.layers[0].gap > 1e3
        assert found.verdict == "exact"


def test_deep_and_narrow_networks_need_more_numbers() -> None:
    """Twice as many as the picture has: enough through two or three layers, not through five."""
    assert measured(resnet18((3, 16, 16), 10, width=0.25, init="torch"), 1).verdict == "exact"
    assert measured(resnet18((3, 16, 16), 10, width=0.125, init="torch"), 1).verdict == "partial"


def test_max_pooling_is_named_where_its_routes_cannot_be_read() -> None:
    found = measured(convnet64((3, 18, 18), 10, width=16), 1, side=18)
    assert "pool0" in found.reason
    assert found.verdict == "exact"


def test_max_pooling_above_wide_convolutions_stops_nothing() -> None:
    found = measured(vgg11((3, 8, 8), 10), 1, side=8)
    assert found.verdict == "exact"
    assert "pool0" in found.reason  # the other poolings stand above convolutions of 64 channels and more
