"""Position embeddings as a way in, patch embeddings as dense layers, and what stands between traced tensors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradiometer.core import NotApplicable
from gradiometer.models.vit import vit
from gradiometer.numerics.recursion.beginning import begin
from gradiometer.numerics.recursion.equations import from_channels, input_matrix, matrix, right_side, to_channels
from gradiometer.numerics.recursion.graph import Graph, Layer, Shift
from gradiometer.numerics.recursion.meter import meter
from gradiometer.numerics.recursion.remainder import Remainder, settle
from gradiometer.numerics.recursion.tracing import trace
from gradiometer.numerics.recursion.walk import walk


def gradient(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    model = model.to(x.dtype).eval()
    names, parameters = zip(*model.named_parameters())
    return dict(zip(names, torch.autograd.grad(F.cross_entropy(model(x), y), parameters)))


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shifts(graph: Graph) -> list[Shift]:
    return [node.operation for node in graph.nodes.values() if isinstance(node.operation, Shift)]


class Odd(nn.Module):
    """What models do between tensors: sizes, tuples, a transposed batch, a slice of a position table."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.position = nn.Linear(5, 8), nn.Parameter(torch.randn(9, 8))
        self.attention, self.mixed = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 24)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        count, tokens, _ = x.shape
        x = self.embed(x) + self.position[:tokens]
        x, _ = self.attention(x, x, x)
        first, second, third = self.mixed(x).reshape(count, tokens, 3, 8).permute(2, 0, 1, 3).unbind(0)
        first, second = (first + second + third).chunk(2, 1)
        return self.head(torch.cat([first, second], 1).mean(1))


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_a_vision_transformer_is_traced_for_any_number_of_examples(pool: str) -> None:
    model = vit((3, 8, 8), 5, width=16, depth=1, heads=2, pool=pool)  # type: ignore[arg-type]
    graph, x = trace(model, (3, 8, 8)), drawn(3, 3, 8, 8)
    assert torch.allclose(graph.forward(x, graph.output), model.double()(x))
    assert [shift.name for shift in shifts(graph)] == ["position"]


def test_sizes_tuples_and_slices_of_a_parameter_are_followed() -> None:
    torch.manual_seed(0)
    model, x = Odd(), drawn(4, 6, 5)
    graph = trace(model, (6, 5))
    assert torch.allclose(graph.forward(x, graph.output), model.double()(x))
    (shift,) = shifts(graph)
    assert torch.equal(shift.entries, torch.arange(48).reshape(6, 8))


def test_a_parameter_that_is_used_twice_is_no_way_in() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.position, self.head = nn.Parameter(torch.ones(4)), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head((x + self.position).tanh() * self.position)

    assert not shifts(trace(Twice(), (4,)))


def test_a_patch_embedding_s_equations_hold() -> None:
    weight, x, delta = drawn(7, 3, 2, 2).requires_grad_(), drawn(2, 3, 4, 6), drawn(2, 7, 2, 3)
    (slope,) = torch.autograd.grad((F.conv2d(x, weight, stride=2) * delta).sum(), weight)
    layer = Layer(
        apply=lambda u: F.conv2d(u, weight, stride=2),
        where="",
        weight=weight.detach(),
        weight_name="",
        stride=(2, 2),
        padding=(0, 0),
        dilation=(1, 1),
        patchwise=True,
    )
    assert layer.tiles((3, 4, 6))
    assert not layer.tiles((3, 5, 6))
    unknowns = to_channels(layer, x)
    assert torch.equal(from_channels(layer, unknowns, (3, 4, 6)), x)
    assert torch.allclose(matrix(layer, delta, (3, 4, 6)) @ unknowns, right_side(layer, slope))
    assert torch.allclose(input_matrix(layer, x)[0] @ delta.movedim(1, 0).flatten(1).T, slope.flatten(1).T)


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_the_position_gradient_gives_the_picture(pool: str) -> None:
    model, x = vit((3, 12, 12), 5, width=32, depth=2, heads=2, pool=pool), drawn(1, 3, 12, 12)  # type: ignore[arg-type]
    values = gradient(model, x, torch.tensor([2]))
    graph = trace(model, (3, 12, 12))
    top = begin(graph, values, rng=torch.Generator())
    found = walk(graph, values, top.deltas)
    assert found.stopped == ""
    assert top.labels.tolist() == [2]
    assert meter(graph, values, examples=1).verdict == "exact"
    assert (found.values[graph.input].value - x).abs().max() < 1e-6


def test_a_missing_combination_of_patches_is_settled_by_the_whole_gradient() -> None:
    def build() -> nn.Module:
        return vit((3, 8, 8), 5, patch=2, width=16, depth=2, heads=2, pool="mean")

    model, x, y = build(), drawn(1, 3, 8, 8), torch.tensor([2])
    values = gradient(model, x, y)
    graph = trace(model, (3, 8, 8))
    found = walk(graph, values, begin(graph, values, rng=torch.Generator()).deltas)
    assert "open" in found.stopped
    assert isinstance(found.remainder, Remainder)
    assert len(found.remainder.open) >= 12
    names, single, double = list(values), build(), model

    def caused(at: Tensor) -> list[Tensor]:
        net = double if at.dtype == torch.float64 else single
        loss = F.cross_entropy(net(at), y)
        return list(
            torch.autograd.grad(loss, [dict(net.named_parameters())[name] for name in names], create_graph=True)
        )

    x_found, error = settle(caused, [values[name] for name in names], found.remainder, rng=torch.Generator())
    assert (found.remainder.value - x).abs().max() > 1e-3
    assert error < 1e-4
    assert (x_found - x).abs().max() < 1e-6


def test_a_batch_is_refused_and_told_why() -> None:
    model = vit((3, 8, 8), 5, width=16, depth=1, heads=2)
    values = gradient(model, drawn(2, 3, 8, 8), torch.tensor([0, 3]))
    with pytest.raises(NotApplicable, match="sum over examples"):
        begin(trace(model, (3, 8, 8)), values, rng=torch.Generator())
