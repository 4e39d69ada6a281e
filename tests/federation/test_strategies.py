"""Strategies: their formulas on known numbers, their limits, and what they refuse."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from gradiometer.core import BadConfig, Recipe, clone_model, derive, simulate, trainable
from gradiometer.federation import STRATEGIES, FedAdam, FedAvg, FedProx, FedSGD

WEIGHTS = {"w": torch.tensor([1.0, -2.0])}
MEAN = {"w": torch.tensor([0.5, 0.25])}


def test_plain_steps() -> None:
    assert FedSGD(lr=0.1).step(WEIGHTS, MEAN, {}, 0)[0]["w"].tolist() == pytest.approx([0.95, -2.025])
    assert FedAvg().step(WEIGHTS, MEAN, {}, 0)[0]["w"].tolist() == pytest.approx([1.5, -1.75])
    assert FedProx(mu=3.0).step(WEIGHTS, MEAN, {}, 0)[0]["w"].tolist() == pytest.approx([1.5, -1.75])


def test_adam_by_hand_over_two_rounds() -> None:
    strategy, weights, moments = FedAdam(lr=0.1, first=0.9, second=0.99, tau=1e-3), WEIGHTS, {}
    m, v, w = 0.0, 0.0, 1.0
    for number, delta in enumerate((0.5, -0.2)):
        weights, moments = strategy.step(weights, {"w": torch.tensor([delta, delta])}, moments, number)
        m, v = 0.9 * m + 0.1 * delta, 0.99 * v + 0.01 * delta**2
        rate = 0.1 * math.sqrt(1 - 0.99 ** (number + 2)) / (1 - 0.9 ** (number + 2))
        w += rate * m / (math.sqrt(v) + 1e-3)
        assert float(weights["w"][0]) == pytest.approx(w, rel=1e-6)
    assert WEIGHTS["w"].tolist() == [1.0, -2.0]


def test_proximal_term_is_the_gradient_of_half_mu_times_the_squared_distance(tiny_client, digits_data) -> None:
    batch, mu = digits_data.public.take(slice(0, 8)), 0.7
    recipe = Recipe(sends="delta", epochs=3, batch_size=4, lr=0.1, examples=8, proximal=mu)
    got = simulate(tiny_client.model, tiny_client.loss, recipe, batch, rng=derive(0))
    start = trainable(tiny_client.model)
    model = clone_model(tiny_client.model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        for part in (slice(0, 4), slice(4, 8)):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(batch["x"][part]), batch["y"][part])
            distance = sum(((p - s) ** 2).sum() for p, s in zip(model.parameters(), start.values()))
            (loss + mu / 2 * distance).backward()
            optimizer.step()
    for (name, value), parameter in zip(got.values.items(), model.parameters()):
        torch.testing.assert_close(value, parameter.detach() - start[name], rtol=1e-4, atol=1e-6)
    free = simulate(tiny_client.model, tiny_client.loss, replace(recipe, proximal=0.0), batch, rng=derive(0))
    assert sum(float(v.norm()) for v in got.values.values()) < sum(float(v.norm()) for v in free.values.values())


@pytest.mark.parametrize(
    ("name", "settings"),
    [("FedSGD", {"lr": 0.0}), ("FedAvg", {"lr": math.nan}), ("FedProx", {"mu": -1.0}), ("FedAdam", {"second": 1.0})],
)
def test_impossible_settings_are_refused(name, settings) -> None:
    with pytest.raises(BadConfig, match=name):
        STRATEGIES[name](**settings)
