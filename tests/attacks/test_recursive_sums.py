"""Recursive on a sum over clients: a larger batch whose examples carry the weights that their clients gave them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gradiometer.attacks.image import Recursive
from gradiometer.core import (
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
    play_sum,
)
from gradiometer.defenses import Clip, GaussianNoise

LAYOUT = image_layout((3, 8, 8), 10, mean=(0.5,), std=(0.25,))
NOTHING = Threat(batch_size=False, recipe=False, buffers=False, public=False)


def network(*, normal: bool = False) -> nn.Module:
    torch.manual_seed(0)
    parts: list[nn.Module] = []
    for inside, outside, stride in ((3, 48, 1), (48, 96, 2), (96, 128, 1)):
        parts += [nn.Conv2d(inside, outside, 3, stride, 1), *([nn.BatchNorm2d(outside)] if normal else []), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)).eval()


def sent(
    sizes: tuple[int, ...], *, defense: Defense | None = None, normal: bool = False, **recipe: str | int
) -> tuple[list[Batch], Update]:
    rng = derive(5, *sizes)
    small = [torch.rand(n, 3, 4, 4, generator=rng) for n in sizes]
    pictures = [LAYOUT["x"].normalize(nn.functional.interpolate(s, size=8, mode="bilinear")) for s in small]
    labels = torch.randperm(10, generator=rng)[: sum(sizes)].split(list(sizes))
    batches = [Batch(x=x, y=y) for x, y in zip(pictures, labels)]
    client = Client(model=network(normal=normal), layout=LAYOUT, recipe=Recipe(**recipe))
    return batches, play_sum(client, batches, rng=rng, threat=NOTHING, defense=defense)


def worst_psnr(batches: list[Batch], guess: Guess) -> float:
    """Of pixels in [0, 1], each truth matched with its nearest guess."""
    truth = torch.cat([batch["x"] for batch in batches])
    squares = (guess["x"][None] - truth[:, None]).square().flatten(2).mean(2) / 16
    assert sorted(squares.argmin(1).tolist()) == list(range(len(truth)))
    return float(-10 * squares.min(1).values.max().log10())


@pytest.mark.parametrize("sizes", [(1, 1), (2, 2), (1, 3)], ids=str)
@pytest.mark.parametrize("mean", [False, True], ids=["sum", "mean"])
def test_pictures_and_labels_of_all_clients_and_the_scale_of_their_sum(sizes: tuple[int, ...], mean: bool) -> None:
    batches, update = sent(sizes)
    share = len(sizes) if mean else 1
    guess = Recursive().run(update.replace(values={k: v / share for k, v in update.values.items()}), derive(1))
    assert guess.notes["exact"]
    assert worst_psnr(batches, guess) > 90
    assert sorted(guess["y"].tolist()) == sorted(int(y) for batch in batches for y in batch["y"])
    assert sorted(guess.notes["weights"]) == sorted(1 / (n * share) for n in sizes for _ in range(n))


def test_clients_that_clipped_have_weights_of_their_own() -> None:
    batches, update = sent((1, 1), defense=Clip(bound=0.5))
    guess = Recursive().run(update, derive(1))
    assert guess.notes["exact"]
    assert worst_psnr(batches, guess) > 90
    assert all(0 < weight < 1 for weight in guess.notes["weights"])
    assert len(set(guess.notes["weights"])) == 2


@pytest.mark.parametrize(
    ("normal", "recipe", "reason"),
    [
        (False, {"sends": "delta", "epochs": 2}, "local steps"),
        (True, {"mode": "train"}, "normalized by its own batch"),
    ],
)
def test_other_sums_are_refused(normal: bool, recipe: dict[str, str | int], reason: str) -> None:
    _, update = sent((2, 2), normal=normal, **recipe)
    with pytest.raises(NotApplicable, match=reason):
        Recursive().run(update, derive(1))
    prediction = Recursive().meter(update)
    assert prediction.verdict == "not"
    assert reason in prediction.reason


def test_what_is_known_of_one_client_s_defense_is_not_taken_for_the_sum_s() -> None:
    defense = GaussianNoise(std=1e-4, relative=True)
    _, update = sent((1, 1), defense=defense)
    attack = defense.informed(Recursive())
    assert attack is not None
    with pytest.raises(NotApplicable, match="one client's message"):
        attack.run(update, derive(1))


def test_the_meter_counts_the_examples_of_all_clients() -> None:
    _, update = sent((1, 2))
    prediction = Recursive().meter(update)
    assert (prediction.verdict, prediction.examples) == ("exact", 3)
