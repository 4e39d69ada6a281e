"""Rounds with differential privacy: private local steps, noise of the sum over equal clients, and what it comes to."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gradiometer.core import Client, Recipe, Threat, trainable
from gradiometer.defenses import DPSGD, ClientDP, chain
from gradiometer.federation import FedAvg, Federation, advance, begin, deal
from gradiometer.models.mlp import mlp


@pytest.fixture
def federation(digits_data) -> Federation:
    recipe = Recipe(sends="delta", epochs=1, batch_size=16, lr=0.1)
    client = Client(model=mlp((1, 8, 8), 10, widths=(16,)), layout=digits_data.layout, recipe=recipe)
    members = deal(digits_data.public, 2, alpha=None, seed=0)
    members = (replace(members[0], train=members[0].train.take(slice(0, 30))), members[1])
    return Federation(client=client, members=members, strategy=FedAvg(), test=digits_data.test, seed=1)


def moved(federation: Federation) -> torch.Tensor:
    state = begin(federation)
    after = advance(federation, state)
    return torch.cat([(trainable(after.model)[k] - v).flatten() for k, v in trainable(state.model).items()])


def test_private_steps_are_taken_and_without_noise_or_clipping_they_are_plain_ones(federation) -> None:
    plain = moved(federation)
    same = moved(replace(federation, defense=DPSGD(bound=1e9, noise_multiplier=0.0)))
    torch.testing.assert_close(same, plain, rtol=1e-4, atol=1e-6)
    assert (
        moved(replace(federation, defense=DPSGD(bound=0.1, noise_multiplier=1.0))) - plain
    ).norm() > 0.1 * plain.norm()


@pytest.mark.parametrize("wrapped", [False, True])
def test_central_noise_is_that_of_the_mean_of_equal_clients(federation, wrapped: bool) -> None:
    def of(noise: float) -> torch.Tensor:
        dp = ClientDP(where="central", bound=0.5, noise_multiplier=noise, clients=2)
        return moved(replace(federation, defense=chain(dp) if wrapped else dp))

    noise = of(1e3) - of(1e-12)
    assert float(noise.std()) == pytest.approx(1e3 * 0.5 / 2, rel=0.1)
    assert of(1e-12).norm() <= 0.5


def test_epsilon_of_the_sum_is_that_of_the_noise_in_it() -> None:
    dp = ClientDP(where="central", bound=1.0, noise_multiplier=2.0, clients=5)
    assert dp.aggregates()
    assert dp.epsilon(threat=Threat(clients=5)) is not None
    assert dp.epsilon() is None
    assert not ClientDP(where="local", bound=1.0, noise_multiplier=2.0).aggregates()
    assert not DPSGD().aggregates()
