"""BatchNorm in train mode: its backward pass, maps from a gradient's rows, the walk down to the pictures."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from gradiometer.numerics.recursion.checksum import Check, Units, check
from gradiometer.numerics.recursion.own_norm import At, of_module
from gradiometer.numerics.recursion.rows import input_maps
from gradiometer.numerics.recursion.shift import spectrum
from gradiometer.numerics.recursion.tracing import trace
from gradiometer.numerics.recursion.train_norm import in_train_mode, normalizes_by_batch
from gradiometer.numerics.recursion.train_top import read_train_top
from gradiometer.numerics.recursion.train_walk import train_walk


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 96, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(96),
        nn.ReLU(),
        nn.Conv2d(96, 96, 3, padding=1, bias=False),
        nn.BatchNorm2d(96),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(96, 10),
    )


def sent(model: nn.Module, x: Tensor, y: Tensor, *, train: bool = True) -> dict[str, Tensor]:
    model = model.double().train(train)
    names, parameters = zip(*model.named_parameters())
    return dict(zip(names, torch.autograd.grad(F.cross_entropy(model(x.double()), y), parameters)))


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (F.normalize(a.flatten(1)) @ F.normalize(b.flatten(1)).T).max(1).values


def test_backward_passes_are_those_of_autograd_and_so_are_their_derivatives() -> None:
    z, d, change = (torch.randn(3, 4, 2, 2, generator=seeded(i), dtype=torch.float64) for i in range(3))
    for module in (nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.LayerNorm([4, 2, 2])):
        nn.init.normal_(module.double().weight, generator=seeded(3))

        def pulled(z: Tensor, module: nn.Module = module) -> Tensor:
            return torch.autograd.grad(module(z), z, d, create_graph=True)[0]

        expected, bent = torch.autograd.functional.jvp(pulled, z, change)
        norm = of_module(module, "", {}, z)
        assert norm is not None
        at = At.of(norm, z)
        assert torch.allclose(at.output, module(z))
        assert torch.allclose(at.pull(d), expected)
        assert torch.allclose(at.bend(d, change), bent)


def test_maps_come_out_of_a_gradient_whose_derivatives_sum_to_zero() -> None:
    for examples in (1, 3):
        maps = torch.randn(examples, 80, 4, 4, generator=seeded(), dtype=torch.float64).clamp_min(0)
        delta = torch.randn(examples, 80, 4, 4, generator=seeded(1), dtype=torch.float64)
        delta = delta - delta.mean((0, 2, 3), keepdim=True)
        gradient = conv2d_weight(maps, (80, 80, 3, 3), delta, padding=1)
        assert spectrum(gradient.transpose(0, 1), 16).examples == examples
        found = input_maps(gradient, (4, 4), examples, rng=seeded(2))
        assert isinstance(found, Tensor)
        assert (cosine(maps, found) > 1 - 1e-9).all()
        true = (F.normalize(found.flatten(1)) @ F.normalize(maps.flatten(1)).T).argmax(1)
        size = found.flatten(1).norm(dim=1) / maps[true].flatten(1).norm(dim=1)
        assert torch.allclose(size, size.mean().expand_as(size))


def test_too_few_channels_are_told() -> None:
    found = input_maps(torch.randn(20, 20, 3, 3, generator=seeded()), (4, 4), 2, rng=seeded())
    assert isinstance(found, str)
    assert "too few" in found


def test_the_gradient_tells_the_mode() -> None:
    model, x = network(), torch.randn(2, 3, 8, 8, generator=seeded())
    graph = in_train_mode(trace(model, (3, 8, 8)), model)
    assert normalizes_by_batch(graph, sent(model, x, torch.tensor([1, 2])))
    assert not normalizes_by_batch(graph, sent(model, x, torch.tensor([1, 2]), train=False))


def test_the_walk_reaches_the_pictures_through_unknown_statistics() -> None:
    model, x, y = network(), torch.randn(2, 3, 8, 8, generator=seeded(1)), torch.tensor([3, 5])
    gradient = sent(model, x, y)
    graph = in_train_mode(trace(model, (3, 8, 8)), model)
    top = read_train_top(graph, gradient, rng=seeded(2))
    assert not isinstance(top, str)
    assert sorted(top.labels.tolist()) == [3, 5]
    found = train_walk(graph, gradient, top)
    assert found.stopped == ""
    pictures = found.values[graph.input].value
    assert (cosine(x.double(), pictures) > 1 - 1e-6).all()
    assert found.scale < 1e-4
    assert abs(float(pictures.norm() / x.norm()) - 1) < 1e-4


def test_slopes_that_a_sum_misled_about_are_mended_by_the_layer_below(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = network(), torch.randn(2, 3, 8, 8, generator=seeded(1)), torch.tensor([3, 5])
    gradient = sent(model, x, y)
    graph = in_train_mode(trace(model, (3, 8, 8)), model)
    top = read_train_top(graph, gradient, rng=seeded(2))
    assert not isinstance(top, str)

    calls = list[int]()

    def misled(found: Units, sums: Tensor) -> Check:
        """Below the maps that were read, two units of a channel are taken wrongly."""
        calls.append(1)
        if len(calls) != 2:
            return check(found, sums)
        flips = torch.zeros_like(found.slope, dtype=torch.bool)
        flips[3, found.near(3, 2)] = True
        return Check(flips=flips, doubtful=(3,), residual=0.0)

    monkeypatch.setattr("gradiometer.numerics.recursion.train_walk.check", misled)
    found = train_walk(graph, gradient, top)
    assert found.stopped == ""
    assert [step.second for step in found.steps.values() if step.second] == [2]
    pictures = found.values[graph.input].value
    assert (cosine(x.double(), pictures) > 1 - 1e-6).all()
