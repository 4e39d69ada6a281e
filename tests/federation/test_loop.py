"""Federated training: limits that are plain SGD, determinism, and what defenses cost."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from gradiometer.core import BadConfig, Batch, Client, Defense, Recipe, Unsupported, trainable
from gradiometer.federation import dirichlet_split, federate
from gradiometer.models.mlp import mlp


@pytest.fixture
def client(digits_data):
    model = mlp((1, 8, 8), 10, widths=(32,))
    return Client(model=model, layout=digits_data.layout, recipe=Recipe(examples=16))


@dataclass(frozen=True, kw_only=True)
class Mute(Defense):
    def on_gradients(self, values, *, rng, memory):
        memory["rounds"] = memory.get("rounds", 0) + 1
        return {name: torch.zeros_like(value) for name, value in values.items()}

    def wire_bytes(self, values):
        return 1


def test_one_client_with_all_examples_is_gradient_descent(digits_data, client):
    train = digits_data.public.take(slice(0, 64))
    client = replace(client, recipe=Recipe(examples=64))
    done = federate(client, train, digits_data.test, clients=1, rounds=3, lr=0.5)
    model = mlp((1, 8, 8), 10, widths=(32,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(train["x"]), train["y"]).backward()
        optimizer.step()
    for name, value in trainable(model).items():
        torch.testing.assert_close(trainable(done.model)[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "recipe", [Recipe(examples=16), Recipe(examples=32, sends="delta", epochs=2, batch_size=8, lr=0.2)]
)
def test_learns_and_repeats_itself(digits_data, client, recipe):
    client = replace(client, recipe=recipe)
    runs = [federate(client, digits_data.public, digits_data.test, rounds=25, lr=0.5, seed=3) for _ in range(2)]
    assert runs[0].accuracy == runs[1].accuracy
    assert runs[0].accuracy[-1] > 0.6 > 3 * runs[0].majority
    assert runs[0].correct == round(runs[0].accuracy[-1] * runs[0].tested)
    size = sum(4 * value.numel() for value in trainable(client.model).values())
    assert runs[0].uplink_bytes == 25 * 4 * size


def test_a_defense_that_sends_nothing_teaches_nothing(digits_data, client):
    done = federate(client, digits_data.public, digits_data.test, defense=Mute(), rounds=2)
    assert len(set(done.accuracy)) == 1
    assert done.uplink_bytes == 2 * 4
    for name, value in trainable(client.model).items():
        assert torch.equal(trainable(done.model)[name], value)


def test_model_passed_in_is_not_written_to(digits_data, client):
    before = {name: value.clone() for name, value in trainable(client.model).items()}
    federate(client, digits_data.public, digits_data.test, rounds=1)
    assert all(torch.equal(before[name], value) for name, value in trainable(client.model).items())


def test_split_is_a_partition_and_alpha_sets_its_skew(digits_data):
    labels = digits_data.public["y"]

    def skew(alpha):
        parts = dirichlet_split(labels, 4, alpha=alpha, rng=torch.Generator().manual_seed(1))
        assert torch.equal(torch.cat(parts).sort().values, torch.arange(len(labels)))
        assert min(map(len, parts)) >= 10
        return sum(float((labels[p].bincount(minlength=10) / len(p)).max()) for p in parts) / 4

    assert skew(0.1) > skew(1.0) > skew(1000.0)
    assert skew(1000.0) < 0.15


def test_impossible_split_and_missing_labels_are_said(digits_data, client):
    with pytest.raises(BadConfig, match="no split"):
        dirichlet_split(torch.zeros(3, dtype=torch.long), 8, alpha=0.01, rng=torch.Generator())
    with pytest.raises(Unsupported, match="integer labels"):
        federate(client, Batch(x=digits_data.public["x"]), digits_data.test)
