"""play_sum: the sum of what every client would have sent alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gradiometer.core import BadInput, Batch, Client, Recipe, Threat, derive, image_layout, play, play_sum
from gradiometer.defenses import Clip

LAYOUT = image_layout((1, 4, 4), 5)


def client(**recipe: float | str) -> Client:
    torch.manual_seed(0)
    return Client(model=nn.Sequential(nn.Flatten(), nn.Linear(16, 5)), layout=LAYOUT, recipe=Recipe(**recipe))


def batches(*sizes: int) -> list[Batch]:
    rng = derive(3)
    return [Batch(x=torch.rand(n, 1, 4, 4, generator=rng), y=torch.arange(n)) for n in sizes]


def test_a_sum_over_equal_clients_is_the_gradient_of_all_examples_times_the_number_of_clients() -> None:
    several = batches(3, 3)
    update = play_sum(client(), several, rng=derive(0), threat=Threat(labels=True))
    joined = Batch(x=torch.cat([b["x"] for b in several]), y=torch.cat([b["y"] for b in several]))
    one = play(client(), joined, rng=derive(0))
    assert all(torch.allclose(value, 2 * one.values[name], atol=1e-7) for name, value in update.values.items())
    assert (update.clients, update.batch_size, update.recipe.examples) == (2, 6, 6)
    assert update.labels.tolist() == joined["y"].tolist()
    assert update.buffers is None


def test_every_client_defends_itself_before_the_sum() -> None:
    several, defense = batches(1, 4), Clip(bound=0.1)
    update = play_sum(client(), several, rng=derive(0), defense=defense)
    alone = [play(client(), batch, rng=derive(0), defense=defense) for batch in several]
    for name, value in update.values.items():
        assert torch.allclose(value, alone[0].values[name] + alone[1].values[name], atol=1e-7)
    assert update.wire_bytes == 2 * alone[0].wire_bytes


def test_local_steps_add_up_too() -> None:
    several, stepping = batches(2, 2), client(sends="delta", epochs=3, lr=0.1)
    update = play_sum(stepping, several, rng=derive(0))
    alone = [play(stepping, batch, rng=derive(0)).values for batch in several]
    assert all(torch.allclose(value, alone[0][name] + alone[1][name]) for name, value in update.values.items())
    assert update.sends == "delta"


def test_what_the_threat_withholds_is_withheld() -> None:
    update = play_sum(client(), batches(1, 2), rng=derive(0), threat=Threat(batch_size=False))
    assert update.batch_size is None
    assert update.labels is None
    assert update.recipe.examples == 1
    assert update.clients == 2


def test_no_client_is_an_error() -> None:
    with pytest.raises(BadInput, match="at least one client"):
        play_sum(client(), [], rng=derive(0))
