"""Parts of a tensor that share no equation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gradiometer.models import resnet18
from gradiometer.numerics.recursion.components import components
from gradiometer.numerics.recursion.equations import matrix
from gradiometer.numerics.recursion.graph import Graph, Layer
from gradiometer.numerics.recursion.tracing import trace


def readers(graph: Graph, names: list[str]) -> list[Layer]:
    return [n.operation for n in graph.layers() if isinstance(n.operation, Layer) and n.operation.where in names]


def test_a_block_of_stride_two_falls_into_parity_classes() -> None:
    graph = trace(resnet18((3, 16, 16), 10, width=0.125), (3, 16, 16))
    layers = readers(graph, ["layer3.0.conv1", "layer3.0.shortcut.0"])
    shape = (16, 8, 8)
    pieces = components(layers, shape, 2)
    assert pieces.columns.shape == (4, 32)
    unknowns = torch.randn(1, 128, 3)
    assert torch.equal(pieces.merge(pieces.split(unknowns)), unknowns)
    deltas = [torch.randn(2, 32, 4, 4) for _ in layers]
    designs = [matrix(layer, delta, shape)[0] for layer, delta in zip(layers, deltas)]
    for part, columns in enumerate(pieces.columns):
        others = torch.ones(128, dtype=torch.bool)
        others[columns] = False
        for design, rows in zip(designs, pieces.rows(part, layers)):
            assert not design[rows][:, others].any()
    assert sum(int(pieces.rows(part, layers)[0].sum()) for part in range(4)) == 32 * 9


@pytest.mark.parametrize(("stride", "side", "parts"), [(1, 8, 1), (2, 8, 4), (2, 7, 1)])
def test_parts_are_of_equal_size_or_one(stride: int, side: int, parts: int) -> None:
    graph = trace(
        nn.Sequential(nn.Conv2d(3, 4, 3, stride, 1), nn.Flatten(), nn.Linear(4 * (-(-side // stride)) ** 2, 2)),
        (3, side, side),
    )
    pieces = components(readers(graph, ["0"]), (3, side, side), 1)
    assert pieces.columns.shape == (parts, side * side // parts)
