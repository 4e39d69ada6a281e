"""ROG: small pictures as unknown, local steps unrolled, and a network that has learned what the search leaves out."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from gradiometer.attacks.generative import ROG
from gradiometer.attacks.matching import LowResolution
from gradiometer.core import BadConfig, Batch, Client, Data, Recipe, Update, derive, play
from gradiometer.defenses import Prune
from gradiometer.metrics.image import psnr
from gradiometer.models import mlp
from gradiometer.numerics.generators.generator import as_pixels

SEARCH = ROG().attack
QUICK = ROG(attack=replace(SEARCH, iterations=20), examples=40, steps=20)


def sent(data: Data, batch: Batch, **settings: object) -> Update:
    recipe = settings.pop("recipe", Recipe(examples=batch.size))
    client = Client(model=mlp((1, 8, 8), 10, widths=(32,), activation="sigmoid"), layout=data.layout, recipe=recipe)
    return play(client, batch, rng=derive(0), public=data.public, **settings)


@pytest.mark.parametrize("kernel", ["bicubic", "bilinear"])
def test_a_picture_that_was_small_is_found_whole(kernel: str, digits_data: Data) -> None:
    x = F.interpolate(F.avg_pool2d(digits_data.private["x"][:1], 2), size=(8, 8), mode=kernel, align_corners=False)
    batch = Batch(x=x, y=digits_data.private["y"][:1])
    attack = replace(SEARCH, unknown=LowResolution(kernel=kernel), iterations=200)
    guess = attack.run(sent(digits_data, batch), derive(1))
    assert float(psnr(guess["x"], as_pixels(x, digits_data.layout["x"]))) > 30
    assert guess.notes["distance"] < 1e-3


def test_the_small_picture_has_the_sides_that_it_should_and_stays_legal(digits_data: Data) -> None:
    like = torch.zeros(2, 1, 8, 8)
    update = sent(digits_data, digits_data.private.take([0, 1]))
    for factor, side in ((1.0, 8), (2.0, 4), (2.7, 3), (100.0, 1)):
        (stage,) = LowResolution(factor=factor).stages(update, like)
        space = stage.enter(None, derive(0))
        assert space.first[0].shape == (2, 1, side, side)
        assert space.show(space.first).shape == like.shape
        (legal,) = space.project([10 * space.first[0] - 5])
        assert 0 <= float(legal.min()) <= float(legal.max()) <= 1
    with pytest.raises(BadConfig, match="factor"):
        LowResolution(factor=0.5)


def test_the_network_that_is_kept_helps_on_held_out_public_examples(digits_data: Data) -> None:
    update = sent(digits_data, digits_data.private.take([0]))
    guess = QUICK.run(update, derive(1))
    assert guess.notes["held_out"] > guess.notes["before"]
    assert guess.notes["labels"] == "RowSum"
    assert QUICK.probe(update, derive(1)) == QUICK.attack.probe(update, derive(1))


def test_a_federated_average_is_unrolled(digits_data: Data) -> None:
    """Three local steps: the whole delta is matched, which one gradient cannot explain."""
    batch = digits_data.private.take([0])
    update = sent(digits_data, batch, recipe=Recipe(sends="delta", epochs=3, lr=0.5))
    unrolled, single = (replace(SEARCH, match=match).run(update, derive(1)) for match in ("strong", "weak"))
    assert unrolled.notes["distance"] < 0.1 * single.notes["distance"]
    assert _error(unrolled["x"], batch["x"]) < 0.5 * _error(single["x"], batch["x"])
    guess = replace(QUICK, attack=replace(SEARCH, iterations=5), examples=10, steps=2).run(update, derive(1))
    assert guess.notes["match"] == "strong"


def test_who_knows_the_defense_learns_behind_it(digits_data: Data) -> None:
    defense = Prune(keep=0.1)
    attack = defense.informed(QUICK)
    assert isinstance(attack, ROG)
    assert attack.defense == defense
    assert attack.attack == defense.informed(QUICK.attack)
    assert isinstance(attack.attack.unknown, LowResolution)


def _error(found: torch.Tensor, truth: torch.Tensor) -> float:
    return float((found - truth).square().mean())
