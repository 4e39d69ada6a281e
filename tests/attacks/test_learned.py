"""Learned attacks: what they gain behind a defense, batches in any order, what they were allowed to learn from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gradiometer.attacks.image import LinearBias
from gradiometer.attacks.inference import RowSum
from gradiometer.attacks.learned import Denoised, LearningToInvert, RidgeInversion, memo
from gradiometer.attacks.learned.lessons import lessons
from gradiometer.core import Attack, BadConfig, Client, Data, Defense, NotApplicable, Recipe, Update, derive, play
from gradiometer.defenses import GaussianNoise, Quantize, Sign
from gradiometer.metrics.image import psnr
from gradiometer.models import mlp

MODEL = mlp((1, 8, 8), 10, widths=(32,))
SMALL = LearningToInvert(length=1024, hidden=64, epochs=15, batch=16)


def sent(data: Data, rows: list[int], defense: Defense | None = None, recipe: Recipe | None = None) -> Update:
    client = Client(model=MODEL, layout=data.layout, recipe=recipe or Recipe(examples=len(rows)))
    return play(client, data.private.take(rows), rng=derive(1, *rows), defense=defense, public=data.public)


def quality(data: Data, attack: Attack, defense: Defense, n: int = 6) -> float:
    """Mean PSNR over single private examples, each behind the defense."""
    guesses = [attack.run(sent(data, [i], defense), derive(2))["x"].clamp(0, 1) for i in range(n)]
    return sum(float(psnr(guess, data.private["x"][i : i + 1])) for i, guess in enumerate(guesses)) / n


@pytest.mark.parametrize(
    "defense",
    [
        pytest.param(Sign(), marks=pytest.mark.slow),
        Quantize(bits=2),
        pytest.param(GaussianNoise(std=0.1), marks=pytest.mark.slow),
    ],
    ids=lambda d: type(d).__name__,
)
def test_learning_gains_over_the_closed_form(digits_data: Data, defense: Defense) -> None:
    learned = defense.informed(RidgeInversion(examples=500))
    assert learned == RidgeInversion(examples=500, defense=defense)
    assert quality(digits_data, learned, defense) > quality(digits_data, LinearBias(), defense) + 1.5


def test_what_is_exact_stays_exact(digits_data: Data) -> None:
    assert quality(digits_data, RidgeInversion(examples=50), Defense(), n=3) > 100


@pytest.mark.slow
def test_signs_are_inverted(digits_data: Data) -> None:
    """Wu et al.: what is left of a gradient by its signs is enough for a network that was trained on signs."""
    mean = digits_data.public["x"].mean(0, keepdim=True)
    blind = sum(float(psnr(mean, digits_data.private["x"][i : i + 1])) for i in range(6)) / 6
    assert quality(digits_data, replace(SMALL, defense=Sign()), Sign()) > blind + 2


@pytest.mark.slow
def test_pictures_of_a_batch_come_in_any_order(digits_data: Data) -> None:
    guess = SMALL.run(sent(digits_data, [0, 5]), derive(0))["x"]
    truth = digits_data.private["x"][[0, 5]]
    mean = digits_data.public["x"].mean(0)
    best = min(float((guess[list(order)] - truth).square().mean()) for order in ((0, 1), (1, 0)))
    assert best < 0.7 * float((mean - truth).square().mean())
    with pytest.raises(NotApplicable, match="batches of one"):
        RidgeInversion().run(sent(digits_data, [0, 5]), derive(0))


def test_a_federated_average_is_simulated_by_its_recipe(digits_data: Data) -> None:
    recipe = Recipe(sends="delta", epochs=3, lr=0.1)
    defense = Quantize(bits=2, scheme="symmetric")
    update = sent(digits_data, [3], defense, recipe)
    guess = RidgeInversion(examples=300, defense=defense).run(update, derive(0))["x"].clamp(0, 1)
    assert float(psnr(guess, digits_data.private["x"][3:4])) > 15


@pytest.mark.slow
def test_a_network_removes_what_noise_left(digits_data: Data) -> None:
    defense = GaussianNoise(std=0.1)
    attack = defense.informed(Denoised(examples=150, steps=80))
    assert (attack.defense, attack.attack) == (defense, defense.informed(LinearBias()))
    assert quality(digits_data, attack, defense) > quality(digits_data, attack.attack, defense) + 1
    with pytest.raises(NotApplicable, match="shows no pictures"):
        Denoised(attack=RowSum()).run(sent(digits_data, [0]), derive(0))


def test_what_cannot_be_improved_is_left_alone(digits_data: Data) -> None:
    update = sent(digits_data, [0])
    guess = Denoised(examples=20, steps=2).run(update, derive(0))
    assert guess.notes["held_out"] == guess.notes["before"] > 100
    assert torch.allclose(guess["x"], LinearBias().run(update, derive(0))["x"], atol=1e-6)


def test_held_out_examples_are_nobody_elses(digits_data: Data) -> None:
    school = lessons(sent(digits_data, [0, 1, 2]), None, 200, 0, "test")
    fitted, held = (
        set(rows.flatten().tolist()) for rows in (school.rows[: school.fitted], school.rows[school.fitted :])
    )
    assert not fitted & held
    assert (school.fitted, len(school.rows)) == (160, 200)
    assert all(len(set(row)) == 3 for row in school.rows.tolist())


def test_one_map_serves_a_model_and_another_model_has_its_own(
    digits_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memo, "_KEPT", type(memo._KEPT)())
    attack = RidgeInversion(examples=50)
    for rows in ([0], [1], [2]):
        attack.run(sent(digits_data, rows), derive(0))
    assert len(memo._KEPT) == 1
    other = play(
        Client(model=mlp((1, 8, 8), 10, widths=(32,), seed=1), layout=digits_data.layout),
        digits_data.private.take([0]),
        rng=derive(0),
        public=digits_data.public,
    )
    attack.run(other, derive(0))
    replace(attack, defense=Sign()).run(sent(digits_data, [0]), derive(0))
    assert len(memo._KEPT) == 3
    monkeypatch.setattr(memo, "LIMIT", 0)
    attack.run(sent(digits_data, [0]), derive(0))
    assert len(memo._KEPT) == 1


def test_refuses_what_teaches_nothing(digits_data: Data) -> None:
    update = sent(digits_data, [0])
    few = update.replace(public=digits_data.public.take([0, 1]))
    with pytest.raises(NotApplicable, match="too few"):
        RidgeInversion().run(few.replace(batch_size=2), derive(0))
    mute = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10, bias=False))
    client = Client(model=mute, layout=digits_data.layout)
    loud = GaussianNoise(std=1e12)
    noisy = play(client, digits_data.private.take([0]), rng=derive(0), defense=loud, public=digits_data.public)
    with pytest.raises(NotApplicable, match="learned nothing"):
        RidgeInversion(defense=loud, examples=100, sketch=8).run(noisy, derive(0))
    for wrong in ({"examples": 1}, {"sketch": 0}):
        with pytest.raises(BadConfig):
            RidgeInversion(**wrong)
    with pytest.raises(BadConfig, match="rate"):
        LearningToInvert(rate=0.0)
