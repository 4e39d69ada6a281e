"""Recursive: exact where it says so, and never where it is not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gradiometer.attacks.image import Recursive
from gradiometer.attacks.image.verifying import Verifier
from gradiometer.core import (
    Batch,
    Client,
    Guess,
    MissingKnowledge,
    NotApplicable,
    Recipe,
    Threat,
    derive,
    image_layout,
    play,
)
from gradiometer.models.lenet import lenet
from gradiometer.models.resnet import resnet18

NOTHING = Threat(batch_size=False, recipe=False, buffers=False, public=False)


def attacked(
    model: nn.Module, shape: tuple[int, int, int], examples: int, threat: Threat = NOTHING, **recipe: str
) -> tuple[Batch, Guess]:
    layout = image_layout(shape, 10, mean=(0.5,), std=(0.25,))
    rng = derive(7, examples)
    smooth = nn.functional.interpolate(
        torch.rand(examples, shape[0], 5, 5, generator=rng), size=shape[1:], mode="bicubic"
    )
    x = layout["x"].normalize(smooth.clamp(0, 1))
    batch = Batch(x=x, y=torch.randperm(10, generator=rng)[:examples])
    client = Client(model=model, layout=layout, recipe=Recipe(examples=examples, **recipe))
    return batch, Recursive().run(play(client, batch, rng=rng, threat=threat), rng)


def worst_psnr(batch: Batch, guess: Guess) -> float:
    """Of pixels in [0, 1], each truth matched with its nearest guess."""
    squares = (guess["x"][None] - batch["x"][:, None]).square().flatten(2).mean(2) / 16
    assert len(set(squares.argmin(1).tolist())) == len(batch["x"])
    return float(-10 * squares.min(1).values.max().log10())


def test_lenet_falls_without_labels_or_batch_size() -> None:
    batch, guess = attacked(lenet((3, 16, 16), 10, activation="relu", channels=24), (3, 16, 16), 1)
    assert worst_psnr(batch, guess) > 100
    assert guess["y"].tolist() == batch["y"].tolist()
    assert guess.notes["exact"]
    assert guess.confidence is not None
    assert guess.confidence.tolist() == [1.0]


@pytest.mark.parametrize("examples", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_residual_network_with_a_global_mean_falls(examples: int) -> None:
    model = resnet18((3, 16, 16), 10, width=0.5)
    batch, guess = attacked(model, (3, 16, 16), examples)
    assert guess.notes["examples"] == examples
    assert sorted(guess["y"].tolist()) == sorted(batch["y"].tolist())
    assert worst_psnr(batch, guess) > 90
    assert guess.notes["exact"]


@pytest.mark.parametrize("threat", [NOTHING, Threat()])
def test_batch_statistics_are_followed_and_the_vague_scale_is_told(threat: Threat) -> None:
    torch.manual_seed(0)
    parts: list[nn.Module] = []
    for inside, outside, stride in ((3, 48, 1), (48, 192, 2), (192, 192, 1)):
        parts += [nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]
    model = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(192, 10))
    batch, guess = attacked(model, (3, 8, 8), 2, threat, mode="train")
    assert guess.notes["mode"] == "train"
    assert guess.notes["examples"] == 2
    assert sorted(guess["y"].tolist()) == sorted(batch["y"].tolist())
    assert worst_psnr(batch, guess) > 45
    assert not guess.notes["exact"]


def test_a_narrow_network_is_not_called_exact() -> None:
    _, guess = attacked(lenet((3, 16, 16), 10, activation="relu", channels=4), (3, 16, 16), 1)
    assert not guess.notes["exact"]
    assert guess.notes["stopped"]
    assert guess.confidence is not None
    assert float(guess.confidence) <= 0.5


def test_too_few_equations_are_filled_smoothly_and_told_so() -> None:
    batch, guess = attacked(lenet((3, 16, 16), 10, activation="relu", channels=6), (3, 16, 16), 1)
    assert not guess.notes["exact"]
    assert "smoothest picture" in guess.notes["way"]
    assert worst_psnr(batch, guess) > 25


def test_a_sure_network_protects_nobody() -> None:
    model = resnet18((3, 16, 16), 10, width=0.5, init="torch", seed=0)
    with torch.no_grad():
        model.linear.bias[3] += 32.0  # of its own class it is so sure that float32 sees 1 - p as zero
    layout = image_layout((3, 16, 16), 10, mean=(0.5,), std=(0.25,))
    x = layout["x"].normalize(torch.rand(1, 3, 16, 16, generator=derive(1)))
    client = Client(model=model.eval(), layout=layout)
    update = play(client, Batch(x=x, y=torch.tensor([3])), rng=derive(0), threat=NOTHING)
    assert float(update.values["linear.bias"].abs().max()) < 1e-12
    guess = Recursive().run(update, derive(2))
    assert guess["y"].tolist() == [3]
    assert guess.notes["exact"]
    assert float((guess["x"] - x).abs().max()) < 1e-4


@pytest.mark.slow
def test_narrow_maps_are_finished_by_steps_on_all_that_is_known() -> None:
    batch, guess = attacked(resnet18((3, 24, 24), 10, width=0.25, init="torch", seed=0), (3, 24, 24), 1)
    assert guess.notes["exact"]
    assert "Gauss-Newton" in guess.notes["way"]
    assert worst_psnr(batch, guess) > 80


def test_a_kink_does_not_decide_what_is_exact() -> None:
    model = lenet((3, 16, 16), 10, activation="relu", channels=24)
    layout = image_layout((3, 16, 16), 10)
    batch = Batch(x=torch.rand(1, 3, 16, 16, generator=derive(1)), y=torch.tensor([4]))
    update = play(Client(model=model, layout=layout), batch, rng=derive(0), threat=NOTHING)
    verifier = Verifier(update=update, labels=batch["y"])
    for error, exact in ((1e-7, True), (1e-4, False), (1e-2, False)):
        x = batch["x"] + error * torch.randn(batch["x"].shape, generator=derive(5))
        agreement, limit = verifier.verdict(x, derive(6))
        assert (agreement <= limit) == exact, error


def test_noise_is_not_called_exact() -> None:
    layout = image_layout((3, 16, 16), 10)
    model = lenet((3, 16, 16), 10, activation="relu", channels=24)
    batch = Batch(x=torch.rand(1, 3, 16, 16, generator=derive(1)), y=torch.tensor([4]))
    update = play(Client(model=model, layout=layout), batch, rng=derive(0))
    noisy = {
        name: v + 1e-2 * v.square().mean().sqrt() * torch.randn(v.shape, generator=derive(2))
        for name, v in update.values.items()
    }
    try:
        guess = Recursive().run(update.replace(values=noisy), derive(3))
    except NotApplicable:
        return
    assert not guess.notes["exact"]


def test_refusals_name_the_reason() -> None:
    with pytest.raises(NotApplicable, match="normalizes by its own batch"):
        attacked(resnet18((3, 16, 16), 10, width=0.0625), (3, 16, 16), 10, Threat(), mode="train")
    with pytest.raises(NotApplicable, match="dropout"):
        attacked(nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(768, 10)), (3, 16, 16), 1, Threat(), mode="train")
    with pytest.raises(NotApplicable, match="several examples or a defense"):
        attacked(lenet((3, 16, 16), 10), (3, 16, 16), 3)
    layout = image_layout((3, 16, 16), 10)
    batch = Batch(x=torch.rand(1, 3, 16, 16, generator=derive(1)), y=torch.tensor([4]))
    update = play(Client(model=lenet((3, 16, 16), 10), layout=layout), batch, rng=derive(0), threat=Threat(model=False))
    with pytest.raises(MissingKnowledge):
        Recursive().run(update, derive(0))


def test_the_update_is_left_as_it_was() -> None:
    layout = image_layout((3, 16, 16), 10)
    model = lenet((3, 16, 16), 10, activation="relu", channels=24)
    batch = Batch(x=torch.rand(1, 3, 16, 16, generator=derive(1)), y=torch.tensor([4]))
    update = play(Client(model=model, layout=layout), batch, rng=derive(0))
    before: dict[str, Tensor] = {name: value.clone() for name, value in update.values.items()}
    first, second = (Recursive().run(update, derive(0)) for _ in range(2))
    assert torch.equal(first["x"], second["x"])
    assert all(torch.equal(before[name], value) for name, value in update.values.items())
