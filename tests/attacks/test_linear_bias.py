"""LinearBias: exact at one example, several examples apart, and back through what comes before the layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gradiometer.attacks.image import LinearBias
from gradiometer.core import Batch, Client, Data, NotApplicable, Recipe, Update, derive, image_layout, play
from gradiometer.models import lenet, mlp, resnet20
from gradiometer.numerics.channels import Additive

SHAPE = (1, 8, 8)


def observed(data: Data, model: nn.Module, count: int = 1, recipe: Recipe = Recipe()) -> tuple[Tensor, Update]:  # noqa: B008
    batch = data.private.take(slice(0, count))
    client = Client(model=model, layout=data.layout, recipe=recipe)
    return batch["x"], play(client, batch, rng=derive(2))


def error(x: Tensor, guess: Tensor) -> float:
    return float((x - guess).abs().max())


def seeded(*layers: nn.Module, frozen: tuple[int, ...] = ()) -> nn.Sequential:
    model = nn.Sequential(nn.Flatten(), *layers)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            bound = 1 / parameter.shape[-1] ** 0.5
            parameter.copy_((2 * torch.rand(parameter.shape, generator=derive(3, name)) - 1) * bound)
    for index in frozen:
        model[index].requires_grad_(False)
    return model


@pytest.mark.parametrize("rows", ["combined", "largest"])
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "gelu"])
def test_one_example_is_exact(digits_data: Data, rows, activation: str) -> None:
    x, update = observed(digits_data, mlp(SHAPE, 10, widths=(32, 16), activation=activation))
    guess = LinearBias(rows=rows).run(update, derive(0))
    assert error(x, guess["x"]) < 1e-5
    assert guess["x"].dtype == x.dtype
    assert guess.confidence.tolist() == pytest.approx([1.0])
    assert guess.notes == {"layer": "1", "way_back": "reshape"}


def test_in_double_precision_to_ten_digits(digits_data: Data) -> None:
    private = Batch(x=digits_data.private["x"].double(), y=digits_data.private["y"]).take([0])
    client = Client(model=mlp(SHAPE, 10, widths=(32,)).double(), layout=digits_data.layout)
    guess = LinearBias().run(play(client, private, rng=derive(0)), derive(0))
    assert error(private["x"], guess["x"]) < 1e-10


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(sends="delta", epochs=4, lr=0.1, momentum=0.9),
        Recipe(sends="delta", epochs=2, batch_size=1, lr=0.1),
        Recipe(mode="train"),
    ],
    ids=["FedAvg with momentum", "FedAvg", "train mode"],
)
def test_local_steps_and_their_scale_do_not_matter(digits_data: Data, recipe: Recipe) -> None:
    x, update = observed(digits_data, mlp(SHAPE, 10, widths=(32,)), recipe=recipe)
    assert error(x, LinearBias().run(update.replace(recipe=None), derive(0))["x"]) < 1e-4


def test_a_batch_is_taken_apart_and_every_confident_guess_is_one_of_it(digits_data: Data) -> None:
    x, update = observed(digits_data, mlp(SHAPE, 10, widths=(512, 64)), count=6)
    guess = LinearBias().run(update, derive(0))
    assert guess["x"].shape == (6, *SHAPE)
    apart = torch.cdist(guess["x"].flatten(1), x.flatten(1))
    sure = guess.confidence > 0.6
    assert int(sure.sum()) >= 4
    assert apart[sure].min(1).values.max() < 1e-3
    assert len(set(apart[sure].argmin(1).tolist())) == int(sure.sum())
    unknown = LinearBias().run(update.replace(batch_size=None), derive(0))
    assert torch.allclose(unknown["x"][: int(sure.sum())], guess["x"][sure])


def test_neurons_that_all_examples_reach_give_guesses_without_confidence(digits_data: Data) -> None:
    _, update = observed(digits_data, mlp(SHAPE, 10, widths=(32,), activation="sigmoid"), count=4)
    guess = LinearBias().run(update, derive(0))
    assert 1 <= len(guess["x"]) <= 4
    assert guess.confidence.max() == 0


def head(width: int) -> nn.Linear:
    return nn.Linear(width, 10)


BEFORE = {
    "no bias, ReLU": (seeded(nn.Linear(64, 40, bias=False), nn.ReLU(), head(40)), "direction"),
    "no bias, sigmoid": (seeded(nn.Linear(64, 40, bias=False), nn.Sigmoid(), head(40)), "direction"),
    "two without bias": (
        seeded(nn.Linear(64, 40, bias=False), nn.ReLU(), nn.Linear(40, 30, bias=False), nn.Tanh(), head(30)),
        "direction",
    ),
    "frozen, invertible": (seeded(nn.Linear(64, 90), nn.LeakyReLU(0.1), head(90), frozen=(1,)), "inversion"),
    "frozen, sigmoid": (seeded(nn.Linear(64, 90), nn.Sigmoid(), head(90), frozen=(1,)), "inversion"),
    "frozen, wide ReLU": (seeded(nn.Linear(64, 300), nn.ReLU(), head(300), frozen=(1,)), "inversion"),
}


@pytest.mark.parametrize(("model", "way"), BEFORE.values(), ids=BEFORE)
def test_the_way_back_through_earlier_layers(digits_data: Data, model: nn.Module, way: str) -> None:
    x, update = observed(digits_data, model)
    guess = LinearBias().run(update, derive(0))
    assert error(x, guess["x"]) < 1e-3
    assert guess.notes["way_back"] == way


def test_normalization_before_the_layer_is_undone(digits_data: Data) -> None:
    norm = nn.BatchNorm2d(1)
    norm.running_mean.fill_(0.3)
    norm.running_var.fill_(0.1)
    x, update = observed(digits_data, nn.Sequential(norm, *mlp(SHAPE, 10, widths=(32,))))
    assert error(x, LinearBias().run(update, derive(0))["x"]) < 1e-4


def test_normalized_pixels_are_judged_in_their_own_box(digits_data: Data) -> None:
    layout = image_layout(SHAPE, 10, mean=(0.5,), std=(0.25,))
    batch = digits_data.private.take(slice(0, 6))
    batch = batch.replace(x=layout["x"].normalize(batch["x"]))
    update = play(Client(model=mlp(SHAPE, 10, widths=(512,)), layout=layout), batch, rng=derive(0))
    guess = LinearBias().run(update, derive(0))
    pixels = layout["x"].denormalize(guess["x"])
    assert -0.01 < pixels.min() < pixels.max() < 1.01


def test_noise_and_lost_entries_cost_less_when_known(digits_data: Data) -> None:
    x, update = observed(digits_data, mlp(SHAPE, 10, widths=(64,)))
    rng = derive(5)
    values = {k: v + 0.01 * torch.randn(v.shape, generator=rng) for k, v in update.values.items()}
    noisy = update.replace(values=values)
    single, combined, informed = (
        float((attack.run(noisy, derive(0))["x"] - x).square().mean())
        for attack in (LinearBias(rows="largest"), LinearBias(), LinearBias().observing(Additive(std=0.01)))
    )
    assert combined < 0.3 * single
    assert informed == pytest.approx(combined, rel=0.01)


def test_a_coarse_grid_without_zero_is_seen_through(digits_data: Data) -> None:
    x, update = observed(digits_data, mlp(SHAPE, 10, widths=(64,)))
    flat = torch.cat([v.flatten() for v in update.values.values()])
    low, step = flat.min(), (flat.max() - flat.min()) / 15
    coarse = {k: ((v - low) / step).round() * step + low for k, v in update.values.items()}
    guess = LinearBias().run(update.replace(values=coarse), derive(0))
    assert float((guess["x"] - x).square().mean()) < 0.1 * float(x.square().mean())


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (lenet(SHAPE, 10), "its first trained layer '0' is a Conv2d"),
        (resnet20(SHAPE, 10), "its first trained layer 'conv1' is a Conv2d"),
        (seeded(nn.Linear(64, 20, bias=False), nn.ReLU(), nn.Linear(20, 10, bias=False)), "the model trains none"),
        (seeded(nn.Linear(64, 30), nn.Sigmoid(), head(30), frozen=(1,)), "has 30 numbers and the picture 64"),
        (seeded(nn.Linear(64, 90), nn.ReLU(), head(90), frozen=(1,)), "fixes only"),
    ],
    ids=["LeNet", "ResNet20", "no bias", "too narrow", "too few live units"],
)
def test_refusals_name_the_layer(digits_data: Data, model: nn.Module, says: str) -> None:
    _, update = observed(digits_data, model)
    with pytest.raises(NotApplicable, match=says):
        LinearBias().run(update, derive(0))
