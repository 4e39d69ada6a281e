"""Training age."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gradiometer.core import BadConfig, BadInput, Data, Unsupported
from gradiometer.models import mlp, resnet20, trained


def accuracy(model: nn.Module, data: Data) -> float:
    assert data.test is not None
    with torch.no_grad():
        return (model(data.test["x"]).argmax(1) == data.test["y"]).double().mean().item()


def test_training_is_deterministic_and_leaves_everything_else_alone(digits_data):
    model = resnet20((1, 8, 8), 10, width=0.25)
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.random.get_rng_state()
    one, two = (trained(model, digits_data, steps=3, batch_size=16) for _ in range(2))
    assert all(torch.equal(one.state_dict()[key], two.state_dict()[key]) for key in before)
    assert all(torch.equal(model.state_dict()[key], before[key]) for key in before)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not one.training
    assert not torch.equal(one.bn1.running_mean, before["bn1.running_mean"])
    other = trained(model, digits_data, steps=3, batch_size=16, seed=1)
    assert not torch.equal(one.linear.weight, other.linear.weight)


def test_it_learns(digits_data):
    model = mlp((1, 8, 8), 10, widths=(64,))
    assert accuracy(model, digits_data) < 0.3
    assert accuracy(trained(model, digits_data, steps=300, lr=0.05), digits_data) > 0.88


def test_zero_steps_is_a_copy(digits_data):
    model = mlp((1, 8, 8), 10, widths=(4,))
    copy = trained(model, digits_data, steps=0)
    assert copy is not model
    assert all(torch.equal(a, b) for a, b in zip(copy.parameters(), model.parameters()))


def test_private_examples_only_on_request(digits_data):
    lonely = Data(private=digits_data.private, layout=digits_data.layout)
    model = mlp((1, 8, 8), 10, widths=(4,))
    with pytest.raises(Unsupported, match="public"):
        trained(model, lonely, steps=1)
    trained(model, lonely, steps=1, on="private")


def test_bad_settings(digits_data):
    model = mlp((1, 8, 8), 10, widths=(4,))
    with pytest.raises(BadConfig):
        trained(model, digits_data, steps=-1)
    with pytest.raises(BadInput, match="diverged"):
        trained(mlp((1, 8, 8), 10), digits_data, steps=50, lr=1e30)
