"""Batch statistics follow from the buffers before and after, to float precision, for any number of calls."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gradiometer.core import Batch, Recipe, cross_entropy, simulate
from gradiometer.numerics.batchnorm import averaged, call_weights, input_statistics, normalizations, sent_statistics
from gradiometer.numerics.terms import watching


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 2, stride=2), nn.BatchNorm2d(4)]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(36, 3)).double()


@settings(max_examples=30, deadline=None)
@given(
    examples=st.integers(2, 6),
    epochs=st.integers(1, 3),
    batch_size=st.integers(2, 6),
    momentum=st.one_of(st.none(), st.floats(0.01, 1.0)),
    earlier=st.integers(0, 2),
    seed=st.integers(0, 2**31),
)
def test_buffers_give_the_statistics(
    examples: int, epochs: int, batch_size: int, momentum: float | None, earlier: int, seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    draw = lambda n: 3 * torch.randn(n, 2, 8, 8, generator=rng, dtype=torch.float64) + 1  # noqa: E731
    model = network().train()
    for layer in normalizations(model, running=True).values():
        layer.momentum = momentum
    with torch.no_grad():
        for _ in range(earlier):
            model(draw(3))
    recipe = Recipe(sends="delta", mode="train", examples=examples, epochs=epochs, batch_size=batch_size, lr=0.1)
    batch = Batch(x=draw(examples), y=torch.zeros(examples, dtype=torch.long))
    layers = normalizations(model, running=True)
    with watching(model, frozenset(layers)) as inputs:
        after = simulate(model, cross_entropy, recipe, batch).buffers
    for name, layer in layers.items():
        seen = [input_statistics(layer, value.detach()) for value in inputs[name]]
        assert len(seen) == recipe.steps
        truth = averaged(seen, call_weights(layer, len(seen)))
        read = sent_statistics(name, layer, after, len(seen))
        assert torch.allclose(read.mean, truth.mean, rtol=1e-9, atol=1e-9)
        assert torch.allclose(read.variance, truth.variance, rtol=1e-9, atol=1e-9)


def test_one_call_gives_mean_and_unbiased_variance() -> None:
    layer = nn.BatchNorm2d(3).double()
    x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    after = nn.BatchNorm2d(3).double()
    after(x)
    read = sent_statistics("n", layer, {f"n.{name}": value for name, value in after.named_buffers()}, 1)
    assert torch.allclose(read.mean, x.mean((0, 2, 3)))
    assert torch.allclose(read.variance, x.transpose(0, 1).flatten(1).var(1))


def test_weights_of_calls() -> None:
    assert call_weights(nn.BatchNorm2d(1, momentum=0.5), 3) == pytest.approx([0.125, 0.25, 0.5])
    assert call_weights(nn.BatchNorm2d(1, momentum=None), 4) == pytest.approx([0.25] * 4), "a plain average"


def test_other_normalizations_and_single_values() -> None:
    x = torch.arange(12.0).reshape(2, 6)
    found = input_statistics(nn.LayerNorm(6), x)
    assert found.mean.shape == ()
    assert float(found.mean) == pytest.approx(5.5)
    assert float(found.variance) == pytest.approx(3.5)
    alone = input_statistics(nn.BatchNorm1d(6), x[:1])
    assert torch.equal(alone.mean, x[0])
    assert torch.equal(alone.variance, torch.zeros(6))
    model = nn.Sequential(nn.LayerNorm(6), nn.BatchNorm1d(6), nn.BatchNorm1d(6, track_running_stats=False))
    assert list(normalizations(model, running=True)) == ["1"]
    assert list(normalizations(model, running=False)) == ["0", "1", "2"]


def test_watching_ends(digits_data: object) -> None:
    model: nn.Module = network()
    seen: dict[str, list[Tensor]]
    with watching(model, frozenset({"0"})) as seen:
        model(torch.zeros(2, 2, 8, 8, dtype=torch.float64))
    model(torch.zeros(2, 2, 8, 8, dtype=torch.float64))
    assert len(seen["0"]) == 1
