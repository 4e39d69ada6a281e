"""p - y of one example without a bias gradient, and several linear layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradiometer.core import NotApplicable
from gradiometer.numerics.recursion.beginning import begin
from gradiometer.numerics.recursion.tracing import trace
from gradiometer.numerics.recursion.walk import walk


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def gradient(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(F.cross_entropy(model(x), y), list(named.values()))
    return {name: g.double() for name, g in zip(named, found)}


@pytest.mark.parametrize("kind", ["none", "frozen", "confident"])
@pytest.mark.parametrize("label", [0, 6])
def test_the_softmax_tells_the_scale_that_a_bias_would(kind: str, label: int) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 7, bias=kind == "frozen"))
    with torch.no_grad():
        model[2].weight.mul_(20 if kind == "confident" else 1)
    if kind == "frozen":
        model[2].bias.requires_grad_(False)
    x = drawn(1, 20)
    values, graph = gradient(model, x, torch.tensor([label])), trace(model, (20,))
    top = begin(graph, values, rng=torch.Generator())
    wanted = model(x).softmax(1).detach() - F.one_hot(torch.tensor([label]), 7)
    assert top.labels.tolist() == [label]
    assert torch.allclose(top.residues, wanted.double(), rtol=1e-4, atol=1e-7)


def test_several_linear_layers_without_any_bias_fall() -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(12, 16, bias=False), nn.GELU(), nn.Linear(16, 14, bias=False), nn.ReLU()]
    model, x = nn.Sequential(nn.Flatten(), *layers, nn.Linear(14, 5, bias=False)), drawn(1, 3, 2, 2)
    values, graph = gradient(model, x, torch.tensor([3])), trace(model, (3, 2, 2))
    found = walk(graph, values, begin(graph, values, rng=torch.Generator()).deltas)
    assert found.stopped == ""
    assert (found.values[graph.input].value - x).abs().max() < 1e-3


def test_another_loss_is_refused() -> None:
    torch.manual_seed(0)
    model = nn.Linear(6, 5, bias=False)
    loss = (model(drawn(1, 6)) - drawn(1, 5, seed=1)).square().sum()
    values = {"weight": torch.autograd.grad(loss, [model.weight])[0].double()}
    with pytest.raises(NotApplicable, match="softmax"):
        begin(trace(nn.Sequential(model), (6,)), {"0.weight": values["weight"]}, rng=torch.Generator())
