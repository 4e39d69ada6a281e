"""Meters of span attacks: what they say of updates, and that the attacks keep it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from gradiometer.attacks.image import SPEAR
from gradiometer.attacks.text import DAGER
from gradiometer.core import (
    Client,
    Data,
    Defense,
    NotApplicable,
    Recipe,
    Update,
    derive,
    next_token_cross_entropy,
    play,
    sequence_cross_entropy,
)
from gradiometer.data import notes
from gradiometer.defenses import Clip, GaussianNoise, Prune
from gradiometer.metrics import score_text
from gradiometer.models import bert, gpt, mlp

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def data() -> Data:
    return notes()


def text(data: Data, count: int = 2, *, guard: Defense | None = None, **settings: object) -> Update:
    sizes: dict = {"width": 64, "depth": 2} | settings
    make = sizes.pop("make", gpt)
    model = make(data.layout["input_ids"].classes, 20, 2, **sizes)
    client = Client(model=model, layout=data.layout, loss=sequence_cross_entropy, recipe=Recipe(examples=count))
    return play(client, data.private.take(slice(0, count)), rng=derive(0), defense=guard or Defense())


def pictures(digits: Data, count: int, *, guard: Defense | None = None, **settings: object) -> Update:
    sizes: dict = {"widths": (128, 32)} | settings
    client = Client(model=mlp(SHAPE, 10, **sizes), layout=digits.layout, recipe=Recipe(examples=count))
    return play(client, digits.private.take(slice(0, count)), rng=derive(0), defense=guard or Defense())


@pytest.mark.parametrize("settings", [{}, {"fused": True}, {"make": bert}, {"guard": Clip(bound=1e-3)}])
def test_exact_is_said_of_text_and_kept(data: Data, settings: dict) -> None:
    update = text(data, 1, **settings)
    reading = DAGER().meter(update)
    assert (reading.verdict, reading.reason) == ("exact", "")
    assert reading.noise
    assert 1e-8 < reading.noise[0] < reading.noise[1] < 1
    assert reading.layers[0].rank > 5
    assert all(
        one.exact for one in score_text(DAGER().run(update, derive(1)), data.private.take([0]), data, rng=derive(2))
    )


def test_noise_above_the_limit_ends_it_and_below_does_not(data: Data) -> None:
    limits = DAGER().meter(text(data)).noise
    assert limits
    below, above = (text(data, guard=GaussianNoise(std=std, relative=True)) for std in (0.1 * limits[0], 3 * limits[1]))
    assert DAGER().meter(below).verdict == "exact"
    assert all(
        one.exact for one in score_text(DAGER().run(below, derive(1)), data.private.take([0, 1]), data, rng=derive(2))
    )
    assert DAGER().meter(above).verdict != "exact"
    with pytest.raises(NotApplicable):
        DAGER().run(above, derive(1))


@pytest.mark.parametrize(
    ("settings", "verdict", "why"),
    [
        ({"count": 8, "width": 32}, "not", "fills its space"),
        ({"depth": 1}, "partial", "tells 2 tokens apart in their context"),
        ({"guard": Prune(keep=0.1)}, "not", "single entries of zero"),
        ({"guard": GaussianNoise(std=1.0, relative=True)}, "not", "no end of its span"),
    ],
)
def test_what_stops_it_is_named(data: Data, settings: dict, verdict: str, why: str) -> None:
    reading = DAGER().meter(text(data, **settings))
    assert reading.verdict == verdict
    assert why in reading.reason
    assert reading.noise is None


def test_frozen_maps_and_other_models_are_not_read(data: Data) -> None:
    update = text(data)
    frozen = update.replace(values={name: v for name, v in update.values.items() if ".attention." not in name})
    assert "reads tokens alone" in DAGER().meter(frozen).reason
    other = update.replace(model=nn.Linear(4, 4))
    assert "does not take tokens" in DAGER().meter(other).reason


def test_reading_leaves_the_model_as_it_was(data: Data) -> None:
    update = text(data)
    assert update.model is not None
    update.model.train()
    DAGER().meter(update)
    assert all(module.training for module in update.model.modules())
    assert not any(module._forward_hooks for module in update.model.modules())


def test_batches_of_pictures_are_foreseen(digits_data: Data) -> None:
    reading = SPEAR().meter(pictures(digits_data, 4))
    assert (reading.verdict, reading.examples) == ("exact", 4)
    assert reading.noise
    noisy = SPEAR().meter(pictures(digits_data, 4, guard=GaussianNoise(std=30 * reading.noise[1], relative=True)))
    assert noisy.verdict == "partial"
    assert "leaves an error" in noisy.reason


@pytest.mark.parametrize(
    ("settings", "verdict", "why"),
    [
        ({"activation": "sigmoid"}, "not", "no ReLU closes"),
        ({"widths": (24, 24)}, "partial", "are needed"),
        ({"widths": (8, 8)}, "not", "no sparse vectors"),
    ],
)
def test_what_stops_a_batch_is_named(digits_data: Data, settings: dict, verdict: str, why: str) -> None:
    reading = SPEAR().meter(pictures(digits_data, 5, **settings))
    assert reading.verdict == verdict
    assert why in reading.reason


def test_the_informed_meter_decodes_first(data: Data) -> None:
    channel = Clip(bound=1.0).channel()
    update = text(data)
    assert replace(DAGER(), channel=channel).meter(update).verdict == DAGER().meter(update).verdict
    assert torch.is_grad_enabled()


def test_a_clip_hides_the_last_tokens_of_a_language_model(data: Data) -> None:
    layout = {name: field for name, field in data.layout.items() if name != "y"}
    model = gpt(layout["input_ids"].classes or 0, 20, width=64, depth=2)
    client = Client(model=model, layout=layout, loss=next_token_cross_entropy, recipe=Recipe(examples=1))
    update, guard = play(client, data.private.take([0]), rng=derive(0)), Clip(bound=1e-3)
    assert DAGER().meter(update).verdict == "exact"
    reading = replace(DAGER(), channel=guard.channel()).meter(update)
    assert reading.verdict == "partial"
    assert "predicted last" in reading.reason


@pytest.mark.parametrize(("level", "count", "verdict"), [(3e-3, 1, "exact"), (1e-3, 4, "partial"), (0.5, 1, "not")])
def test_known_noise_is_told_by_how_far_it_turns_directions(data: Data, level: float, count: int, verdict: str) -> None:
    guard = GaussianNoise(std=level, relative=True)
    update = text(data, count, guard=guard, width=96)
    informed = guard.informed(DAGER())
    assert isinstance(informed, DAGER)
    assert informed.meter(update).verdict == verdict
    if verdict == "exact":
        truth = data.private.take(slice(0, count))
        found = score_text(informed.run(update, derive(1)), truth, data, rng=derive(2))
        assert all(one.exact for one in found)
