"""PriorAware: names the private example among candidates, as far as the bound allows."""

from __future__ import annotations

import pytest
import torch

from gradiometer.attacks.inference import PriorAware
from gradiometer.core import BadConfig, Batch, Client, Data, NotApplicable, Recipe, derive, play
from gradiometer.defenses import DPSGD, Clip, GaussianNoise, chain
from gradiometer.models.mlp import mlp
from gradiometer.numerics.intervals import wilson
from gradiometer.numerics.reconstruction import reconstruction_bound


@pytest.fixture
def ten(digits_data: Data) -> Batch:
    """One digit of each class."""
    labels = digits_data.private["y"]
    return digits_data.private.take([int((labels == c).nonzero()[0]) for c in range(10)])


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(sends="delta", epochs=3, lr=0.1)], ids=["gradient", "delta"])
@pytest.mark.parametrize("bound", [None, 0.1])
def test_without_noise_it_names_the_example(
    tiny_client: Client, ten: Batch, recipe: Recipe, bound: float | None
) -> None:
    client = Client(model=tiny_client.model, layout=tiny_client.layout, recipe=recipe)
    for i in (0, 4, 9):
        update = play(client, ten.take([i]), rng=derive(0), public=ten)
        guess = PriorAware(bound=bound).run(update, derive(1))
        assert guess.notes["candidate"] == i
        assert torch.equal(guess["x"], ten["x"][i : i + 1])


def test_attack_stays_within_the_bound_and_near_it(digits_data: Data, ten: Batch) -> None:
    """Ten digits of ten classes through a linear classifier: gradients that nearly make the worst case. 2000 draws."""
    client = Client(model=mlp((1, 8, 8), 10, widths=()), layout=digits_data.layout)
    attack, clip, hits = PriorAware(bound=0.01), DPSGD(bound=0.01, noise_multiplier=0.0), 0
    sent = [play(client, ten.take([i]), rng=derive(0), defense=clip, public=ten) for i in range(10)]
    known, rng = attack.calibrate(sent[0], derive(0)), derive(1)
    for i in range(2000):
        raw = sent[i % 10]
        noisy = {k: v + 1.0 * 0.01 * torch.randn(v.shape, generator=rng) for k, v in raw.values.items()}
        hits += int(attack.scores(raw.replace(values=noisy), known).argmax()) == i % 10
    rate, bound = wilson(hits, 2000), reconstruction_bound(0.1, 1.0)
    assert rate.lower <= bound
    assert rate.value > bound - 0.1


def test_informed_attacker_clips_the_candidates_too(tiny_client: Client, ten: Batch) -> None:
    defense = chain(Clip(bound=0.05), GaussianNoise(std=0.005))
    informed = defense.informed(PriorAware(bound=10.0))
    assert isinstance(informed, PriorAware)
    update = play(tiny_client, ten.take([0]), rng=derive(0), defense=defense, public=ten)
    known = informed.calibrate(update, derive(0))
    assert float(known.norm(dim=1).max()) <= 0.05 * (1 + 1e-5)
    assert informed.read(update, known).notes["candidate"] == 0


def test_refuses_batches_and_bad_settings(tiny_client: Client, ten: Batch) -> None:
    with pytest.raises(NotApplicable, match="names one example"):
        PriorAware().run(play(tiny_client, ten, rng=derive(0), public=ten), derive(0))
    for bad in ({"candidates": 0}, {"bound": 0.0}):
        with pytest.raises(BadConfig):
            PriorAware(**bad)  # type: ignore[arg-type]
