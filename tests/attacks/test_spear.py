"""SPEAR: batches from one gradient, several local steps, noise, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gradiometer.attacks.image import SPEAR
from gradiometer.core import Client, Data, Field, Guess, NotApplicable, Recipe, Threat, Update, derive, play
from gradiometer.defenses import Quantize
from gradiometer.models import lenet, mlp
from gradiometer.numerics.assignment import assign

SHAPE = (1, 8, 8)
NOTHING = Threat(batch_size=False, recipe=False, buffers=False, public=False)


def observed(
    data: Data, model: nn.Module, count: int, recipe: Recipe | None = None, threat: Threat = NOTHING
) -> tuple[torch.Tensor, torch.Tensor, Update]:
    batch = data.private.take(slice(0, count))
    client = Client(model=model, layout=data.layout, recipe=recipe or Recipe(examples=count))
    return batch["x"], batch["y"], play(client, batch, rng=derive(2), threat=threat)


def matched(x: torch.Tensor, guess: Guess) -> tuple[float, list[int]]:
    """The largest error of a pixel, and which guess is which example's."""
    apart = torch.cdist(x.flatten(1), guess["x"].flatten(1))
    order = [column for _, column in sorted(assign(apart))]
    return float((x - guess["x"][order]).abs().max()), order


@pytest.mark.parametrize("count", [1, 2, 5, 10])
def test_a_batch_is_exact_without_its_size_or_labels(digits_data: Data, count: int) -> None:
    x, y, update = observed(digits_data, mlp(SHAPE, 10, widths=(512, 64)), count)
    guess = SPEAR().run(update, derive(0))
    error, order = matched(x, guess)
    assert error < 1e-4
    assert guess["y"][order].tolist() == y.tolist()
    assert guess.confidence.min() > 0.98
    assert guess.notes["rank"] == count
    assert guess.notes["exact"]


@pytest.mark.parametrize("threat", [NOTHING, Threat()], ids=["size unknown", "size known"])
def test_a_repeated_example_is_found_once_and_never_invented(digits_data: Data, threat: Threat) -> None:
    batch = digits_data.private.take([0, 1, 2, 2])
    client = Client(model=mlp(SHAPE, 10, widths=(256, 64)), layout=digits_data.layout, recipe=Recipe(examples=4))
    guess = SPEAR().run(play(client, batch, rng=derive(2), threat=threat), derive(0))
    assert guess["x"].shape == (3, *SHAPE)
    assert torch.cdist(guess["x"].flatten(1), batch["x"].flatten(1)).min(1).values.max() < 1e-4
    assert guess.notes["exact"]


def test_labels_without_a_number_of_classes_are_left_out(digits_data: Data) -> None:
    x, _, update = observed(digits_data, mlp(SHAPE, 10, widths=(256, 64)), 2)
    layout = {**update.layout, "y": Field(shape=(), kind="class")}
    guess = SPEAR().run(update.replace(layout=layout), derive(0))
    assert "y" not in guess
    assert matched(x, guess)[0] < 1e-4


def test_one_epoch_of_local_steps_is_read_like_one_gradient(digits_data: Data) -> None:
    recipe = Recipe(sends="delta", batch_size=2, lr=0.05)
    x, y, update = observed(digits_data, mlp(SHAPE, 10, widths=(256, 64)), 4, recipe, Threat())
    guess = SPEAR().run(update, derive(0))
    error, order = matched(x, guess)
    assert error < 1e-2
    assert guess["y"][order].tolist() == y.tolist()


def test_noise_costs_precision_and_the_stated_error_tells_how_much(digits_data: Data) -> None:
    x, _, update = observed(digits_data, mlp(SHAPE, 10, widths=(256, 64)), 3)
    rng = derive(5)
    noisy = {
        k: v + 1e-3 * v.square().mean().sqrt() * torch.randn(v.shape, generator=rng) for k, v in update.values.items()
    }
    guess = SPEAR().run(update.replace(values=noisy), derive(0))
    error, order = matched(x, guess)
    spread = float((x - guess["x"][order]).square().mean().sqrt())
    assert spread < 0.01
    assert 0.2 < guess.notes["error"] / spread < 5
    assert not guess.notes["exact"]
    assert error > 1e-4


def test_too_many_examples_are_refused_with_the_count(digits_data: Data) -> None:
    _, _, update = observed(digits_data, mlp(SHAPE, 10, widths=(64, 32)), 20)
    with pytest.raises(NotApplicable, match=r"of 20 directions in \d+ starts"):
        SPEAR(starts=64).run(update, derive(0))


def test_a_layer_without_zeros_is_refused(digits_data: Data) -> None:
    _, _, update = observed(digits_data, mlp(SHAPE, 10, widths=(128,), activation="sigmoid"), 4)
    with pytest.raises(NotApplicable, match="no ReLU's zeros"):
        SPEAR(starts=64).run(update, derive(0))


def test_convolutions_and_full_ranks_are_refused(digits_data: Data) -> None:
    _, _, update = observed(digits_data, lenet(SHAPE, 10), 2)
    with pytest.raises(NotApplicable, match="SPEAR needs a linear layer"):
        SPEAR().run(update, derive(0))
    _, _, update = observed(digits_data, mlp(SHAPE, 10, widths=(32,)), 30)
    with pytest.raises(NotApplicable, match=r"no sparse vectors stand out|no ReLU.s zeros"):
        SPEAR(starts=32).run(update, derive(0))


def test_rows_that_noise_covers_are_a_refusal(digits_data: Data) -> None:
    defense = Quantize(bits=2, scheme="symmetric")
    model = mlp((1, 8, 8), 10, widths=(64, 16), activation="sigmoid")
    client = Client(model=model, layout=digits_data.layout, recipe=Recipe(examples=8))
    for seed in range(4):
        update = play(client, digits_data.private.take(range(8)), rng=derive(seed), defense=defense)
        with pytest.raises(NotApplicable):
            (defense.informed(SPEAR(starts=32)) or SPEAR(starts=32)).run(update, derive(1))


def test_fewer_live_rows_than_directions_are_no_factors() -> None:
    from gradiometer.numerics.span import Span
    from gradiometer.numerics.sparse_factors import search

    left = torch.linalg.qr(torch.randn(10, 3, generator=derive(0), dtype=torch.float64))[0]
    right = torch.linalg.qr(torch.randn(5, 3, generator=derive(1), dtype=torch.float64))[0].T
    values = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
    drowned = Span(left=left, values=values, right=right, gap=1.0, noise=torch.full((10,), 1e3, dtype=torch.float64))
    (factors,) = search(drowned, [torch.zeros(10, 5, dtype=torch.float64)], derive(2), 100)
    assert factors.found == factors.starts == len(factors.match) == 0
