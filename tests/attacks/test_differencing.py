"""Differencing: a client's own update, and then its picture, out of securely aggregated sums."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gradiometer.attacks import LinearBias, difference_of_rounds, without_colluders
from gradiometer.core import NotApplicable, Recipe, Threat, derive, play, play_sum
from gradiometer.federation import SecureAggregation

VICTIM = 4


def each(data, count, size=1):
    return [data.private.take(slice(size * i, size * (i + 1))) for i in range(count)]


def quality(guess, truth):
    return float(-10 * (guess["x"].clamp(0, 1) - truth["x"]).square().mean().clamp_min(1e-10).log10())


@pytest.fixture
def sums(tiny_client, digits_data):
    """Two rounds of secure aggregation: five clients, and the first four of them again."""
    secure, batches = SecureAggregation(clip=1.0, bits=24), each(digits_data, 5)
    everybody = play_sum(tiny_client, batches, rng=derive(0), aggregation=secure, round=3)
    fewer = play_sum(tiny_client, batches[:VICTIM], rng=derive(1), aggregation=secure, round=4)
    return everybody, fewer, batches[VICTIM], secure


def test_two_rounds_show_the_picture_that_one_sum_hides(sums, tiny_client):
    everybody, fewer, truth, secure = sums
    update = difference_of_rounds(everybody, fewer)
    assert (update.clients, update.batch_size, update.recipe.examples, update.labels) == (1, 1, 1, None)
    alone = play(tiny_client, truth, rng=derive(2))
    step = secure.settings(round=0, clients=5, length=1).fixed_point.step
    for name, value in update.values.items():
        assert (value - alone.values[name]).abs().max() < (5 + 4) * step
    assert quality(LinearBias().run(update, derive(0)), truth) > 35
    assert quality(LinearBias().run(everybody, derive(0)), truth) < 20


def test_of_two_clients_either_one_sees_the_other(tiny_client, digits_data):
    mine, yours = each(digits_data, 2)
    total = play_sum(tiny_client, [mine, yours], rng=derive(0), aggregation=SecureAggregation(clip=1.0, bits=24))
    own = play(tiny_client, mine, rng=derive(1))
    left = without_colluders(total, own)
    assert left.clients == left.batch_size == 1
    assert quality(LinearBias().run(left, derive(0)), yours) > 35


def test_all_but_one_collude(sums, tiny_client, digits_data):
    everybody, _, truth, _ = sums
    own = {i: play(tiny_client, batch, rng=derive(i)) for i, batch in enumerate(each(digits_data, VICTIM))}
    assert quality(LinearBias().run(without_colluders(everybody, own), derive(0)), truth) > 35
    some = without_colluders(everybody, {i: own[i] for i in range(2)})
    assert (some.clients, some.batch_size) == (3, 3)


def test_weight_deltas_and_withheld_sizes(tiny_client, digits_data):
    client = replace(tiny_client, recipe=Recipe(sends="delta", epochs=2, lr=0.1))
    batches, threat = each(digits_data, 3), Threat(batch_size=False)
    sums = [play_sum(client, some, rng=derive(0), threat=threat) for some in (batches, batches[:2])]
    update = difference_of_rounds(*sums)
    assert (update.clients, update.batch_size, update.recipe.examples) == (1, None, 1)
    alone = play(client, batches[2], rng=derive(0))
    assert all(torch.allclose(value, alone.values[name], atol=1e-6) for name, value in update.values.items())


def test_sums_that_do_not_differ_by_clients(sums):
    everybody, fewer, _, _ = sums
    with pytest.raises(NotApplicable, match="more clients first"):
        difference_of_rounds(fewer, everybody)
    with pytest.raises(NotApplicable, match="nobody is left"):
        without_colluders(fewer, everybody)
    with pytest.raises(NotApplicable, match="no parameter"):
        difference_of_rounds(everybody, fewer.replace(values={}))
    with pytest.raises(NotApplicable, match="no fewer examples"):
        difference_of_rounds(everybody, fewer.replace(batch_size=9))
