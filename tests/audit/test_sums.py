"""Audits of a sum over clients: what secure aggregation leaves to attack, scored over all clients' pictures."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gradiometer.attacks import InvertingGradients, LinearBias
from gradiometer.attacks.inference import RowSum
from gradiometer.audit import make_plan, run_audit
from gradiometer.audit.compute import observe
from gradiometer.audit.setup import set_up
from gradiometer.core import Threat, derive, play, play_sum
from gradiometer.defenses import ClientDP, Clip, GaussianNoise, LaplaceNoise, chain
from gradiometer.federation import SecureAggregation

CLIENTS = 3


def plan(**changes):
    document = {
        "client": [
            {
                "name": "digits",
                "model": {"name": "mlp", "widths": [256]},
                "data": "digits",
                "recipe": {"examples": 2},
            }
        ],
        "attack": [
            "LinearBias",
            "RowSum",
            {"name": "RidgeInversion", "examples": 10},
            {"name": "InvertingGradients", "iterations": 2, "labels": "RowSum"},
        ],
        "defense": [{"name": "ClientDP", "where": "central", "noise_multiplier": 0.001}],
        "threat": {"clients": CLIENTS},
        "audit": {"examples": 12, "controls": False},
        "utility": {"rounds": 0},
    }
    return make_plan(document | changes)


def test_every_client_of_the_sum_trains_on_its_own_examples() -> None:
    setup = set_up(plan())
    victim = setup.victims["digits"]
    assert [len(batch) for batch in victim.batches] == [6, 6]
    update = observe(setup, victim, 0, "none")
    assert (update.clients, update.batch_size) == (CLIENTS, 6)
    alone = [play(victim.client, victim.batch(0).take(slice(i, i + 2)), rng=derive(0)) for i in (0, 2, 4)]
    for name, value in update.values.items():
        torch.testing.assert_close(value, sum(one.values[name] for one in alone))


def test_the_noise_of_the_server_is_in_the_sum_and_known_to_the_informed() -> None:
    noisy = plan(defense=[{"name": "ClientDP", "where": "central", "noise_multiplier": 2.0}])
    setup = set_up(noisy)
    [name] = [name for name in setup.defenses if name != "none"]
    victim = setup.victims["digits"]
    noise = torch.cat([v.flatten() for v in observe(setup, victim, 0, name).values.values()])
    assert float(noise.std()) == pytest.approx(2.0, rel=0.05)
    attack = setup.attack("LinearBias", name, True)
    assert attack.channel.std == 2.0


def test_pictures_of_all_clients_are_scored_and_attacks_on_one_client_say_why_they_do_not(tmp_path) -> None:
    result = run_audit(plan(), tmp_path, jobs=1)
    assert result.threat.clients == CLIENTS
    assert {row.defense for row in result.rows} == {"none", "ClientDP(noise_multiplier=0.001, where=central)"}
    cells = {(cell.defense, cell.attack, cell.informed): cell for cell in result.cells}
    linear = cells["none", "LinearBias", False]
    assert linear.status == "ok"
    assert linear.rate.n == 12, "two sums of three clients with two pictures each"
    assert linear.rate.value > 0.8, "who is hidden, not what was sent"
    matching = next(cell for (_, attack, _), cell in cells.items() if attack.startswith("InvertingGradients"))
    assert (matching.status, matching.rate.n) == ("ok", 12)
    learner = next(cell for (_, attack, _), cell in cells.items() if attack.startswith("RidgeInversion"))
    assert learner.status == "not_applicable"
    assert "this is a sum over 3" in learner.reason
    assert any(informed and attack == "LinearBias" for _, attack, informed in cells)
    private = next(row for row in result.rows if row.defense != "none")
    assert private.cost.epsilon is not None, "the sum's; a single message of this defense has none"


@pytest.mark.parametrize("where", ["central", "distributed", "local"])
def test_the_channel_of_a_sum_has_the_noise_that_is_measured_in_it(tiny_client, digits_data, where) -> None:
    dp = ClientDP(where=where, bound=1e-6, noise_multiplier=1e6, clients=4)
    batches = [digits_data.private.take([i]) for i in range(4)]
    update = play_sum(tiny_client, batches, rng=derive(0), defense=dp)
    noise = torch.cat([value.flatten() for value in update.values.values()])
    assert float(noise.std()) == pytest.approx(dp.sum_channel(4).std, rel=0.1)
    assert dp.informed(LinearBias(), clients=4).channel == dp.sum_channel(4)
    assert replace(dp, noise_multiplier=0.0).informed(LinearBias(), clients=4) is None


def test_channels_of_sums_of_other_defenses() -> None:
    noise = GaussianNoise(std=0.1)
    assert noise.sum_channel(9).std == pytest.approx(0.3)
    assert LaplaceNoise(std=0.1).sum_channel(9) == noise.sum_channel(9)
    assert chain(Clip(bound=1.0), noise).sum_channel(9) == noise.sum_channel(9)
    assert GaussianNoise(std=0.1, relative=True).sum_channel(9) is None
    assert Clip(bound=1.0).sum_channel(9) is None
    assert InvertingGradients().observing(noise.channel()) is not None


def test_label_counts_of_a_sum_of_local_trainings(tiny_client, digits_data) -> None:
    """A client of a sum takes the steps of its own examples, not those of all."""
    recipe = replace(tiny_client.recipe, sends="delta", epochs=2, batch_size=2, lr=0.01)
    stepping = replace(tiny_client, recipe=recipe)
    batches = [digits_data.private.take(slice(4 * i, 4 * i + 4)) for i in range(CLIENTS)]
    total = play_sum(
        stepping, batches, rng=derive(0), threat=Threat(), aggregation=SecureAggregation(clip=1.0, bits=24)
    )
    alone = [play(stepping, batch, rng=derive(0)).as_gradient() for batch in batches]
    for name, value in total.as_gradient().items():
        torch.testing.assert_close(value, sum(one[name] for one in alone), atol=1e-4, rtol=1e-3)
    labels = torch.cat([batch["y"] for batch in batches]).bincount(minlength=10)
    found = RowSum().run(total, derive(0))["y"].bincount(minlength=10)
    assert (found - labels).abs().sum() <= 8
