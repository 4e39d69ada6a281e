"""SecureAggregation: a round's observer sees the sum alone, and that to the fixed point."""

from __future__ import annotations

import importlib

import pytest
import torch

from gradiometer.attacks.inference import RareClass, RowSum
from gradiometer.attacks.learned import RidgeInversion
from gradiometer.core import (
    Aggregation,
    BadConfig,
    BadInput,
    Defense,
    NotApplicable,
    Threat,
    Unsupported,
    derive,
    play_sum,
)
from gradiometer.defenses import Clip
from gradiometer.federation import AGGREGATIONS, SecureAggregation


def batches(data, count, size=2):
    return [data.private.take(slice(size * i, size * (i + 1))) for i in range(count)]


def test_the_observer_sees_the_sum_and_no_more(tiny_client, digits_data):
    secure = SecureAggregation(clip=1.0, bits=20)
    assert isinstance(secure, Aggregation)
    several = batches(digits_data, 5)
    update = play_sum(tiny_client, several, rng=derive(0), aggregation=secure, threat=Threat(labels=True))
    plain = play_sum(tiny_client, several, rng=derive(0), threat=Threat(labels=True))
    step = secure.settings(round=0, clients=5, length=1).fixed_point.step
    for name, value in update.values.items():
        assert value.dtype == plain.values[name].dtype
        assert value.shape == plain.values[name].shape
        assert (value - plain.values[name]).abs().max() < 5 * step
    assert (update.clients, update.batch_size, update.buffers) == (5, 10, None)
    assert torch.equal(update.labels, plain.labels)
    raw = sum(value.numel() for value in update.values.values())
    assert 5 * 3 * raw < update.wire_bytes < 5 * (3 * raw + 2500), "three bytes an entry, and the keys"


def test_same_seed_same_sum(tiny_client, digits_data):
    several, secure = batches(digits_data, 3), SecureAggregation()
    one, same, other = (play_sum(tiny_client, several, rng=derive(s), aggregation=secure) for s in (0, 0, 1))
    assert all(torch.equal(value, same.values[name]) for name, value in one.values.items())
    assert not all(torch.equal(value, other.values[name]) for name, value in one.values.items())


def test_entries_beyond_the_range_are_clipped_and_defenses_come_first(tiny_client, digits_data):
    several = batches(digits_data, 3)
    tight = play_sum(tiny_client, several, rng=derive(0), aggregation=SecureAggregation(clip=1e-4))
    assert max(value.abs().max() for value in tight.values.values()) == pytest.approx(3e-4)
    clipped = play_sum(tiny_client, several, rng=derive(0), defense=Clip(bound=0.1), aggregation=SecureAggregation())
    norm = torch.cat([value.flatten() for value in clipped.values.values()]).norm()
    assert norm < 0.3


def test_it_hides_who_and_not_how_many(tiny_client, digits_data):
    """Attacks on one client's update refuse the sum; label counts of all clients together are read as before."""
    several = batches(digits_data, 5)
    update = play_sum(
        tiny_client, several, rng=derive(0), aggregation=SecureAggregation(clip=1.0, bits=24), public=digits_data.public
    )
    with pytest.raises(NotApplicable, match="sum over 5"):
        RidgeInversion().run(update, derive(0))
    labels = torch.cat([batch["y"] for batch in several]).bincount(minlength=10)
    counted = RowSum().run(update, derive(0))["y"].bincount(minlength=10)
    assert (counted - labels).abs().sum() <= 4
    rare = RareClass(label=int(labels.argmax())).run(update, derive(0))
    assert bool(rare["present"])


def test_a_mean_weighted_by_examples():
    draw, secure = torch.Generator().manual_seed(0), SecureAggregation(clip=1.0, bits=24)
    messages = [{"w": torch.rand(3, 4, generator=draw) - 0.5, "b": torch.rand(2, generator=draw)} for _ in range(5)]
    counts = [1, 100, 7, 30, 62]
    done = secure.mean(dict(enumerate(messages)), dict(enumerate(counts)), most=100, rng=derive(0))
    for name, value in done.mean.items():
        want = sum(n * message[name] for n, message in zip(counts, messages)) / 200
        assert value.shape == want.shape
        assert (value - want).abs().max() < 1e-6
    assert done.uplink > 0
    assert done.survivors == (0, 1, 2, 3, 4)
    with pytest.raises(BadInput, match="101 examples, where 1 to 100"):
        secure.mean(dict(enumerate(messages)), {0: 101, 1: 1, 2: 1, 3: 1, 4: 1}, most=100, rng=derive(0))


def test_one_client_is_refused(tiny_client, digits_data):
    with pytest.raises(BadConfig, match="secure aggregation"):
        play_sum(tiny_client, batches(digits_data, 1), rng=derive(0), aggregation=SecureAggregation())


def test_it_is_no_defense_of_one_client():
    """Of one client alone nothing is protected, so there is nothing that `play` or an audit of one client could apply."""
    assert not issubclass(SecureAggregation, Defense)


def test_card():
    thing, card = AGGREGATIONS["SecureAggregation"]
    assert thing is SecureAggregation
    assert all([card.summary, card.title, card.authors, card.year, card.family, card.formula, card.strength])


def test_without_the_package_the_error_names_the_extra(tiny_client, digits_data, monkeypatch):
    real = importlib.import_module

    def missing(name, package=None):
        if name.startswith("cryptography"):
            raise ImportError(name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(Unsupported, match="cryptography") as error:
        play_sum(tiny_client, batches(digits_data, 3), rng=derive(0), aggregation=SecureAggregation())
    assert 'pip install "gradiometer[secagg]"' in error.value.fix


def test_the_channel_of_the_sum_has_the_rounding_that_is_measured_in_it(tiny_client, digits_data):
    several = batches(digits_data, 4)
    coarse = SecureAggregation(clip=16.0, bits=18)
    exact, rounded = (
        play_sum(tiny_client, several, rng=derive(0), aggregation=aggregation).values for aggregation in (None, coarse)
    )
    off = torch.cat([(rounded[name] - exact[name]).flatten() for name in exact if exact[name].abs().min() > 0])
    assert float(off.std()) == pytest.approx(coarse.sum_channel(4).std, rel=0.15)
