"""Equations written out: known outputs of very different weight are solved to their own accuracy."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gradiometer.numerics.recursion.components import components
from gradiometer.numerics.recursion.dense_closing import written_out
from gradiometer.numerics.recursion.graph import Layer
from gradiometer.numerics.recursion.tracing import trace

SHAPE = (2, 8, 8)


def solved(equations: int, examples: int, digits: float) -> tuple[Tensor, tuple[Tensor, Tensor, float] | None]:
    """A tensor, and what follows from this many equations a channel and the layer's outputs, whose errors differ."""
    rng = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    graph = trace(nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(64, 3)), SHAPE)
    layer = graph.layers()[0].operation
    assert isinstance(layer, Layer)
    x = torch.randn(examples, *SHAPE, generator=rng, dtype=torch.float64)
    pieces = components([layer], SHAPE, examples)
    parts, unknowns = pieces.columns.shape
    rows = torch.randn(parts, equations, unknowns, generator=rng, dtype=torch.float64)
    places = pieces.split(x.flatten(2).permute(0, 2, 1).reshape(1, -1, 2))
    output = layer.linear(x)
    weight = 1e4 * 10 ** (-digits * torch.rand(output.shape, generator=rng, dtype=torch.float64))
    noisy = output + torch.randn(output.shape, generator=rng, dtype=torch.float64) / weight
    return x, written_out(layer, SHAPE, pieces, 1e4 * rows, 1e4 * rows @ places, [(layer, weight, noisy)])


def test_errors_are_those_that_were_foretold() -> None:
    for examples in (1, 2):
        x, found = solved(12 * examples, examples, 3.0)
        assert found is not None
        value, deviation, left = found
        assert float((value - x).norm() / x.norm()) < 1e-2
        assert 0.3 < float(((value - x) / deviation).square().mean().sqrt()) < 3
        assert left < 4 * 64 * examples


def test_open_directions_are_not_solved() -> None:
    _, found = solved(4, 1, 3.0)
    assert found is None
