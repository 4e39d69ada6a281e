"""Matching on sums over clients: the mean gradient of all their examples, each client with equally many."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gradiometer.attacks import InvertingGradients, Matching
from gradiometer.core import Batch, Client, Data, NotApplicable, Recipe, Threat, concatenate, derive, play, play_sum
from gradiometer.defenses import GaussianNoise
from gradiometer.federation import SecureAggregation
from gradiometer.metrics.image import psnr
from gradiometer.models import lenet
from gradiometer.numerics.distances import SquaredL2

CLIENTS = 2
SQUARED = Matching(distance=SquaredL2(), priors=(), iterations=3)


def parts(data: Data) -> list[Batch]:
    rows = [(data.private["y"] == label).nonzero()[0].tolist() for label in range(CLIENTS)]
    return [data.private.take(row) for row in rows]


def client(data: Data, **recipe: str | int | float) -> Client:
    shape = data.layout["x"].shape
    return Client(model=lenet(shape, 10, activation="sigmoid"), layout=data.layout, recipe=Recipe(**recipe))


@pytest.mark.parametrize("attack", [SQUARED, InvertingGradients(iterations=3)], ids=["squared", "cosine"])
def test_a_sum_is_searched_for_as_one_client_s_larger_batch_would_be(attack: Matching, digits_data: Data) -> None:
    threat, batches = Threat(labels=True), parts(digits_data)
    total = play_sum(client(digits_data), batches, rng=derive(0), threat=threat)
    whole = play(client(digits_data), concatenate(batches), rng=derive(0), threat=threat)
    guesses = [attack.run(update, derive(1)) for update in (total, whole)]
    torch.testing.assert_close(guesses[0]["x"], guesses[1]["x"], atol=1e-3, rtol=1e-3)
    assert guesses[0].objective == pytest.approx(guesses[1].objective, rel=1e-3)


def test_pictures_behind_secure_aggregation_come_back(digits_data: Data) -> None:
    batches = parts(digits_data)
    secure = SecureAggregation(clip=1.0, bits=24)
    total = play_sum(client(digits_data), batches, rng=derive(0), threat=Threat(labels=True), aggregation=secure)
    guess = InvertingGradients(iterations=150).run(total, derive(1))
    truth = concatenate(batches)["x"]
    mean = digits_data.public["x"].mean(0, keepdim=True).expand_as(truth)
    assert (psnr(guess["x"], truth) > psnr(mean, truth) + 3).all()


def test_who_knows_the_noise_of_each_client_compares_the_sum_as_it_is(digits_data: Data) -> None:
    noise = GaussianNoise(std=1e-3)
    total = play_sum(client(digits_data), parts(digits_data), rng=derive(0), threat=Threat(labels=True), defense=noise)
    informed = noise.informed(SQUARED, clients=CLIENTS)
    assert informed is not None
    truth = concatenate(parts(digits_data))
    problem, _ = informed._problem(total, derive(2))  # type: ignore[attr-defined]
    within = problem.within(problem.pixels("gray", derive(3)))
    known, gray = (within.objective([x]).distance for x in (truth["x"], within.start(derive(3))[0]))
    assert known < 0.2 * gray


def test_what_is_no_sum_over_examples_is_refused(digits_data: Data) -> None:
    batches = parts(digits_data)
    stepping = client(digits_data, sends="delta", epochs=3, lr=0.1)
    total = play_sum(stepping, batches, rng=derive(0), threat=Threat(labels=True))
    with pytest.raises(NotApplicable, match="sum over 2 clients, and local steps"):
        SQUARED.run(total, derive(1))
    guess = Matching(distance=SquaredL2(), priors=(), iterations=3, match="weak").run(total, derive(1))
    assert len(guess["x"]) == CLIENTS
    normal = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))
    pairs = [concatenate([batch, batch]) for batch in batches]
    training = Client(model=normal, layout=digits_data.layout, recipe=Recipe(mode="train"))
    with pytest.raises(NotApplicable, match="normalized by its own batch"):
        SQUARED.run(play_sum(training, pairs, rng=derive(0), threat=Threat(labels=True)), derive(1))
