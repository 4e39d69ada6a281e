"""AutoMatching: what is chosen follows from the model and the update; starts that others verified stand."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from gradiometer.attacks import AutoMatching, Matching, Recursive
from gradiometer.attacks.matching import LBFGS, Adam, GaussNewton
from gradiometer.core import Attack, Card, Channel, Client, Data, Guess, Recipe, Threat, Update, derive, play
from gradiometer.defenses import GaussianNoise
from gradiometer.metrics.image import psnr
from gradiometer.models import lenet
from gradiometer.models.mlp import mlp
from gradiometer.numerics.distances import SquaredL2
from gradiometer.numerics.engine import smoothness

S = (1, 8, 8)


class Untraceable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.flatten(1)) if x.sum() > -1e9 else x  # torch.fx cannot follow a branch on values


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (lenet(S, 10), "smooth"),
        (lenet(S, 10, activation="relu"), "kinked"),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sigmoid(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 10)), "kinked"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Softsign(), nn.Linear(16, 10)), "unknown"),
        (Untraceable(), "unknown"),
    ],
)
def test_smoothness(model: nn.Module, kind: str) -> None:
    assert smoothness(model, "eval", torch.zeros(1, *S)) == kind


def seen(data: Data, model: nn.Module, recipe: Recipe = Recipe(), n: int = 1, labels: bool = True) -> Update:  # noqa: B008
    client = Client(model=model, layout=data.layout, recipe=replace(recipe, examples=n))
    return play(client, data.private.take(slice(0, n)), rng=derive(0), threat=Threat(labels=labels))


def test_the_choice_follows_from_model_and_update(digits_data: Data) -> None:
    def chosen(model: nn.Module, recipe: Recipe = Recipe(), channel: Channel | None = None, n: int = 1) -> Matching:  # noqa: B008
        return AutoMatching(channel=channel).choice(seen(digits_data, model, recipe, n))[0]

    smooth, kinked = mlp(S, 10, widths=(32,), activation="sigmoid"), mlp(S, 10, widths=(32,))
    solved = chosen(smooth)
    assert isinstance(solved.optimizer, GaussNewton)
    assert solved.distance == SquaredL2()
    assert isinstance(chosen(smooth, Recipe(sends="delta", lr=0.1)).optimizer, GaussNewton), "one step is a gradient"
    assert isinstance(chosen(smooth, Recipe(sends="delta", epochs=3)).optimizer, LBFGS)
    assert isinstance(chosen(kinked, Recipe(sends="delta", epochs=3)).optimizer, Adam)
    assert isinstance(chosen(kinked, n=2).optimizer, Adam)
    assert chosen(kinked).start == chosen(smooth).start == Recursive()
    assert AutoMatching(analytic=False).choice(seen(digits_data, kinked))[0].start == "gray"
    channel = GaussianNoise(std=0.01).channel()
    noisy = chosen(smooth, channel=channel)
    assert isinstance(noisy.optimizer, LBFGS)
    assert noisy.channel == channel
    few = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    few[1].weight.requires_grad_(False)
    assert isinstance(chosen(few).optimizer, Adam), "ten entries do not determine 64 pixels"


def test_smooth_networks_are_solved_and_what_is_exact_stands(digits_data: Data) -> None:
    truth = digits_data.private["x"][:1]
    update = seen(digits_data, mlp(S, 10, widths=(32,), activation="sigmoid"), labels=False)
    searched, walked = (AutoMatching(iterations=600, analytic=a).run(update, derive(1)) for a in (False, True))
    assert searched.notes["chosen"].startswith("GaussNewton")
    assert searched.notes["iterations"] > 10
    assert walked.notes["start"] == "Recursive, exact"
    assert walked.notes["iterations"] == 1, "what is exact is not descended from"
    for guess in (searched, walked):
        assert float(psnr(guess["x"], truth)) > 80
        assert torch.equal(guess["y"], digits_data.private["y"][:1])


def test_models_that_cannot_be_taken_apart_are_matched_whole(digits_data: Data) -> None:
    guess = AutoMatching(iterations=30).run(seen(digits_data, Untraceable()), derive(1))
    assert guess.notes["chosen"].startswith("Adam on signs: unknown network")
    assert guess.notes["start"].startswith("Recursive refused")
    assert guess.notes["engine"].startswith("double backward")


def test_several_starts_are_halved(digits_data: Data) -> None:
    update = seen(digits_data, lenet(S, 10, activation="relu", channels=2))
    guess = AutoMatching(iterations=120, restarts=4).run(update, derive(1))
    assert len(guess.notes["objectives"]) == 4
    assert sum(why.startswith("worse half") for why in guess.notes["stopped"]) == 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Told(Attack):
    """An attack that has its answer already."""

    card = Card(summary="", modality="image", family="analytic", formula="", needs=())
    guess: Guess

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        return self.guess


def test_pictures_of_a_start_take_the_places_of_the_granted_labels(digits_data: Data) -> None:
    update = seen(digits_data, mlp(S, 10, widths=(32,)), n=5)
    private = digits_data.private.take(slice(0, 5))
    turned = torch.tensor([3, 0, 4, 1, 2])
    mixed = Guess(tensors={"x": private["x"][turned], "y": private["y"][turned]}, notes={"exact": True})
    guess = Matching(start=Told(guess=mixed), priors=()).run(update, derive(1))
    assert torch.equal(guess["x"], private["x"])
    assert guess.objective is not None
    assert guess.objective < 1e-6
    other = Guess(tensors={"x": private["x"], "y": (private["y"] + 1) % 10})
    refused = Matching(start=Told(guess=other), priors=(), iterations=2).run(update, derive(1))
    assert refused.notes["start"] == "Told found other labels than the granted ones"


def test_a_start_that_is_further_than_gray_is_left(digits_data: Data) -> None:
    update = seen(digits_data, mlp(S, 10, widths=(32,), activation="sigmoid"))
    noise = Guess(tensors={"x": 5 * torch.randn(1, *S, generator=derive(2))})
    guess = Matching(start=Told(guess=noise), distance=SquaredL2(), priors=(), iterations=1).run(update, derive(1))
    assert guess.notes["start"] == "Told, but gray is nearer"
    assert torch.allclose(guess["x"], torch.full_like(guess["x"], 0.5))


def test_a_start_that_all_but_matches_is_settled(digits_data: Data) -> None:
    update = seen(digits_data, mlp(S, 10, widths=(32,)))
    near = digits_data.private["x"][:1] + 1e-4 * torch.randn(1, *S, generator=derive(2))
    attack = Matching(start=Told(guess=Guess(tensors={"x": near})), iterations=5)
    settled, descended = (replace(attack, settled=part).run(update, derive(1)) for part in (1e-3, 0.0))
    assert settled.notes["start"] == "Told, settled"
    assert settled.notes["iterations"] == 1
    assert torch.allclose(settled["x"], near.clamp(0, 1))
    assert descended.notes["iterations"] == 5
