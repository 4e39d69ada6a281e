"""Recursive against defenses: who knows the defense comes far, and nothing noisy is called exact."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gradiometer.attacks.image import Recursive
from gradiometer.core import (
    Attack,
    Batch,
    Client,
    Defense,
    Guess,
    NotApplicable,
    Recipe,
    Threat,
    Update,
    derive,
    image_layout,
    play,
)
from gradiometer.defenses import Clip, GaussianNoise, Quantize, SelectiveEncryption
from gradiometer.models.lenet import lenet
from gradiometer.models.resnet import resnet18
from gradiometer.numerics.recursion.tolerance import tolerance
from gradiometer.numerics.recursion.tracing import trace

SHAPE = (3, 16, 16)
LAYOUT = image_layout(SHAPE, 10, mean=(0.5,), std=(0.25,))
NOTHING = Threat(batch_size=False, recipe=False, buffers=False, public=False)


def client(**recipe: object) -> Client:
    return Client(model=resnet18(SHAPE, 10, width=0.5), layout=LAYOUT, recipe=Recipe(**recipe))


def batch(examples: int = 1) -> Batch:
    rng = derive(7, examples)
    smooth = torch.nn.functional.interpolate(
        torch.rand(examples, 3, 5, 5, generator=rng), size=(16, 16), mode="bicubic"
    )
    return Batch(x=LAYOUT["x"].normalize(smooth.clamp(0, 1)), y=torch.randperm(10, generator=rng)[:examples])


def defended(defense: Defense, attack: Recursive | None = None) -> tuple[Guess, float]:
    """The guess of somebody who knows the defense, and its PSNR."""
    update = play(client(), batch(), rng=derive(7), threat=NOTHING, defense=defense)
    guess = (attack or defense.informed(Recursive()) or Recursive()).run(update, derive(1))
    return guess, decibels(guess["x"], batch()["x"])


def decibels(guess: Tensor, truth: Tensor) -> float:
    return -10 * math.log10(float((guess - truth).square().mean()) / 16)


def test_noise_costs_no_more_decibels_than_predicted() -> None:
    guess, reached = defended(GaussianNoise(std=1e-3, relative=True))
    model = client().model
    clean = play(client(), batch(), rng=derive(7)).values
    gradient = {name: value.double() for name, value in clean.items()}
    noise = {name: 1e-6 * value.square().mean().expand_as(value) for name, value in gradient.items()}
    graphs = [trace(model, SHAPE, dtype=dtype) for dtype in (torch.float64, torch.float32)]
    told = tolerance(graphs[0], graphs[1], gradient, batch()["x"], noise)
    assert 0 < told.error < float("inf")
    assert reached > -20 * math.log10(told.error / 4) - 6
    assert told.closes > 10
    assert not guess.notes["exact"]
    assert guess["y"].tolist() == batch()["y"].tolist()


@pytest.mark.slow
def test_who_knows_the_noise_comes_farther() -> None:
    defense = GaussianNoise(std=3e-3, relative=True)
    _, informed = defended(defense)
    try:
        _, naive = defended(defense, Recursive())
    except (NotApplicable, KeyError):
        naive = 0.0
    assert informed > max(40.0, naive)


@pytest.mark.slow
def test_rounding_to_eight_bits_is_no_protection() -> None:
    guess, reached = defended(Quantize(bits=8, scheme="symmetric"))
    assert reached > 25
    assert not guess.notes["exact"]


@pytest.mark.parametrize("norm", [pytest.param("l2", marks=pytest.mark.slow), "per_layer"])
def test_clipping_is_no_protection(norm: str) -> None:
    guess, reached = defended(Clip(bound=0.1, norm=norm))
    assert reached > 90
    assert guess["y"].tolist() == batch()["y"].tolist()


@pytest.mark.slow
def test_a_few_local_steps_are_followed() -> None:
    steps = client(sends="delta", epochs=3, lr=1e-2)
    update = play(steps, batch(), rng=derive(7), threat=Threat(buffers=False, public=False))
    assert decibels(Recursive().run(update, derive(1))["x"], batch()["x"]) > 40


def test_local_steps_on_parts_of_the_examples_are_refused() -> None:
    parts = client(sends="delta", batch_size=1, examples=2)
    update = play(parts, batch(2), rng=derive(7), threat=Threat(buffers=False, public=False))
    with pytest.raises(NotApplicable, match="parts of its examples"):
        Recursive().run(update, derive(1))


def test_the_sum_of_two_clients_is_a_larger_batch() -> None:
    pictures = batch(2)
    sent: list[Update] = [play(client(), pictures.take([i]), rng=derive(7), threat=NOTHING) for i in (0, 1)]
    mean = {name: (sent[0].values[name] + sent[1].values[name]) / 2 for name in sent[0].values}
    guess = Recursive().run(sent[0].replace(values=mean), derive(1))
    squares = (guess["x"][None] - pictures["x"][:, None]).square().flatten(2).mean(2) / 16
    assert sorted(squares.argmin(1).tolist()) == [0, 1]
    assert float(squares.amin(1).max()) < 1e-8
    assert sorted(guess["y"].tolist()) == sorted(pictures["y"].tolist())


@pytest.mark.parametrize("share", [1e-4, 0.1])
@pytest.mark.parametrize("informed", [True, False])
@pytest.mark.parametrize("pooled", [True, False])
def test_encrypted_entries_are_a_reason_and_never_an_exact_picture(pooled: bool, informed: bool, share: float) -> None:
    defense = SelectiveEncryption(share=share)
    model = resnet18(SHAPE, 10, init="torch") if pooled else lenet(SHAPE, 10, activation="relu")
    victim = Client(model=model, layout=LAYOUT)
    update = play(victim, batch(), rng=derive(7), threat=NOTHING, defense=defense)
    attack = (defense.informed(Recursive()) if informed else None) or Recursive()
    exact, reason = told(attack, update)
    assert not exact
    assert reason == "" or len(reason) > 20


def told(attack: Attack, update: Update) -> tuple[bool, str]:
    """Whether a picture is called exact, and why there is none."""
    try:
        return attack.run(update, derive(1)).notes["exact"], ""
    except NotApplicable as refused:
        return False, refused.message
