"""ClientDP: where the noise is added, and what that proves to whom."""

from __future__ import annotations

import math

import pytest
import torch

from gradiometer.core import BadConfig, Client, Data, Recipe, Threat, derive, play_sum
from gradiometer.defenses import ClientDP, Quantize, chain
from gradiometer.federation import federate
from gradiometer.numerics.accounting import gaussian_epsilon
from gradiometer.numerics.noise import discrete_gaussian
from gradiometer.numerics.shrinking import length

ZERO = {"w": torch.zeros(100, 100)}
SUM = Threat(clients=9)


def summed(defense: ClientDP, clients: int = 9) -> torch.Tensor:
    messages = [defense.on_gradients(ZERO, rng=derive(i), memory={})["w"] for i in range(clients)]
    return defense.on_sum({"w": torch.stack(messages).sum(0)}, clients=clients, rng=derive(99))["w"]


@pytest.mark.parametrize("where", ["central", "distributed", "local"])
@pytest.mark.parametrize("step", [0.0, 2**-8])
def test_noise_of_the_sum_and_of_a_message(where: str, step: float) -> None:
    defense = ClientDP(bound=0.5, noise_multiplier=3.0, where=where, clients=9, step=step)  # type: ignore[arg-type]
    message = defense.on_gradients(ZERO, rng=derive(0), memory={})["w"]
    assert float(message.std()) == pytest.approx({"central": 0, "distributed": 0.5, "local": 1.5}[where], rel=0.02)
    expected = 4.5 if where == "local" else 1.5
    assert float(summed(defense).std()) == pytest.approx(expected, rel=0.02)


def test_messages_lie_on_the_grid_and_within_the_bound() -> None:
    raw = {"w": torch.randn(50, 40, generator=derive(0)), "b": torch.randn(40, generator=derive(1))}
    noisy = ClientDP(bound=0.5, step=2**-8, clients=4).on_gradients(raw, rng=derive(2), memory={})
    for value in noisy.values():
        assert torch.equal(value * 2**8, (value * 2**8).round())
    for norm in ("l2", "per_layer"):
        cut = ClientDP(bound=0.5, step=2**-14, noise_multiplier=0.0, norm=norm)  # type: ignore[arg-type]
        assert 0.48 < float(length(cut.on_gradients(raw, rng=derive(2), memory={}))) <= 0.5 * (1 + 1e-6)


@pytest.mark.parametrize("std", [0.7, 3.0, 250.0])
def test_discrete_gaussian_has_its_law(std: float) -> None:
    """Frequencies of the nine middle values (or the spread of many) within 4 standard errors of exp(-k^2 / 2 s^2)."""
    draws = discrete_gaussian(torch.zeros(40_000), std, derive(0, std))
    assert torch.equal(draws, draws.round())
    k = torch.arange(-20 * math.ceil(std), 20 * math.ceil(std) + 1, dtype=torch.float64)
    law = torch.exp(-(k**2) / (2 * std**2))
    law /= law.sum()
    for value in range(-4, 5):
        p, seen = float(law[k == value]), float((draws == value).double().mean())
        assert abs(seen - p) < 4 * math.sqrt(p * (1 - p) / len(draws)) + 1e-5
    assert float(draws.var()) == pytest.approx(float((law * k**2).sum()), rel=0.04)


def test_sum_of_shares_is_one_discrete_gaussian() -> None:
    """Fourth moment and variance as of a single draw at 3 times the spread, which is what epsilon is stated for."""
    total = torch.stack([discrete_gaussian(torch.zeros(40_000), 4.0, derive(1, i)) for i in range(9)]).sum(0)
    assert float(total.var()) == pytest.approx(144, rel=0.04)
    assert float((total / 12).pow(4).mean()) == pytest.approx(3.0, rel=0.06)


def test_epsilon_is_that_of_what_the_observer_sees() -> None:
    central, shares, alone = (
        ClientDP(bound=0.5, noise_multiplier=2.0, where=where, clients=9)  # type: ignore[arg-type]
        for where in ("central", "distributed", "local")
    )
    assert central.epsilon() is None, "the server's own noise does not protect from the server"
    assert alone.epsilon() == gaussian_epsilon(2 / 2, 1e-5)
    assert shares.epsilon() == pytest.approx(gaussian_epsilon(2 * 3 / 2, 1e-5), rel=1e-9)
    assert central.epsilon(threat=SUM) == shares.epsilon(threat=SUM) == gaussian_epsilon(1 / 2, 1e-5)
    assert alone.epsilon(threat=SUM) == pytest.approx(gaussian_epsilon(1 / 6, 1e-5), rel=1e-9)
    assert shares.epsilon(threat=Threat(clients=5)) > shares.epsilon(threat=SUM)  # type: ignore[operator]
    rounds = Threat(clients=9, rounds=4)
    assert shares.epsilon(threat=rounds) == pytest.approx(gaussian_epsilon(1.0, 1e-5), rel=1e-9)
    on_grid = ClientDP(bound=0.5, noise_multiplier=2.0, clients=9, step=2**-8)
    assert 1 < on_grid.epsilon(threat=SUM) / shares.epsilon(threat=SUM) < 1.15  # type: ignore[operator]


def test_in_a_chain_nothing_may_follow_noise_that_is_proven_in_the_sum() -> None:
    shares, alone = ClientDP(), ClientDP(where="local")
    assert chain(Quantize(bits=4), shares).epsilon(threat=SUM) == shares.epsilon(threat=SUM)
    assert chain(shares, Quantize(bits=4)).epsilon(threat=SUM) is None
    assert chain(alone, Quantize(bits=4)).epsilon() == alone.epsilon()


def test_central_noise_reaches_the_sum_and_the_trained_model(digits_data: Data, tiny_client: Client) -> None:
    batches = [digits_data.private.take([i]) for i in range(3)]
    plain, noisy = (
        play_sum(tiny_client, batches, rng=derive(0), defense=ClientDP(bound=1.0, noise_multiplier=z, where="central"))
        for z in (0.0, 1.0)
    )
    gap = torch.cat([(noisy.values[k] - v).flatten() for k, v in plain.values.items()])
    assert float(gap.std()) == pytest.approx(1.0, rel=0.1)
    client = Client(model=tiny_client.model, layout=digits_data.layout, recipe=Recipe(examples=8))
    spoiled = federate(
        client,
        digits_data.public,
        digits_data.test,
        defense=ClientDP(noise_multiplier=1e4, where="central"),
        rounds=2,
        alpha=9.0,
    )
    moved = torch.cat([p.detach().flatten() for p in spoiled.model.parameters()]).norm()
    assert float(moved) > 1e3


@pytest.mark.parametrize(
    "settings",
    [
        {"bound": 0.0},
        {"noise_multiplier": -1.0},
        {"clients": 0},
        {"step": -1.0},
        {"bound": math.inf},
        {"bound": 1.0, "clients": 100, "step": 0.5},
    ],
)
def test_settings_out_of_range(settings: dict[str, float]) -> None:
    with pytest.raises(BadConfig):
        ClientDP(**settings)  # type: ignore[arg-type]
