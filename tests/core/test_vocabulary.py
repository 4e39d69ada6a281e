"""Batches, layouts, threats, randomness and errors: the small values that everything else is made of."""

from __future__ import annotations

import math

import pytest
import torch

from gradiometer.core import (
    THREATS,
    BadConfig,
    BadInput,
    Batch,
    Field,
    MissingKnowledge,
    Recipe,
    Threat,
    Update,
    derive,
    did_you_mean,
    image_layout,
    play,
    spawn,
)
from gradiometer.core.rng import global_seed


def test_a_batch_counts_its_examples_and_keeps_their_order() -> None:
    batch = Batch(x=torch.arange(6.0).reshape(3, 2), y=torch.tensor([0, 1, 2]))
    assert batch.size == 3
    assert batch.take([2, 0])["y"].tolist() == [2, 0]
    assert batch.replace(y=torch.zeros(3))["x"] is batch["x"]


@pytest.mark.parametrize(
    "tensors", [{}, {"x": torch.zeros(0, 3)}, {"x": torch.zeros(())}, {"x": torch.zeros(2), "y": torch.zeros(3)}]
)
def test_a_batch_without_examples_or_with_two_sizes_is_refused(tensors: dict[str, torch.Tensor]) -> None:
    with pytest.raises(BadInput):
        Batch(tensors)


def test_normalization_and_its_inverse_cancel_and_the_box_is_that_of_pixels() -> None:
    field = image_layout((3, 4, 4), 2, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))["x"]
    pixels = torch.rand(2, 3, 4, 4, dtype=torch.float64, generator=derive(0, "pixels"))
    assert torch.allclose(field.denormalize(field.normalize(pixels)), pixels)
    wild = field.normalize(pixels) + 10
    assert field.denormalize(field.clamp(wild)).max() <= 1 + 1e-12
    low, high = field.bounds(wild)
    assert torch.allclose(field.denormalize(low.expand_as(wild)), torch.zeros_like(wild), atol=1e-12)
    assert torch.allclose(field.denormalize(high.expand_as(wild)), torch.ones_like(wild), atol=1e-12)


def test_an_unlimited_field_clamps_nothing() -> None:
    values = torch.tensor([[-1e9], [1e9]])
    assert torch.equal(Field(shape=(1,)).clamp(values), values)


@pytest.mark.parametrize("name", THREATS)
def test_what_a_threat_does_not_grant_is_absent(name: str, tiny_client, digits_data) -> None:
    threat = THREATS[name]
    update = play(tiny_client, digits_data.private.take([0]), rng=derive(0), threat=threat, public=digits_data.public)
    for switch in ("model", "recipe", "batch_size", "labels", "public"):
        assert update.knows(switch) == getattr(threat, switch)
        if not getattr(threat, switch):
            with pytest.raises(MissingKnowledge, match=switch):
                update.need(switch)


def test_threat_letters_follow_the_published_table() -> None:
    assert [THREATS["eavesdropper"].letter, Threat(recipe=False, public=False).letter] == ["A", "B"]
    assert [Threat(public=False).letter, Threat(buffers=False).letter, Threat().letter] == ["C", "D", "E"]
    assert [Threat(tamper=True, public=False).letter, Threat(tamper=True).letter] == ["F", "G"]


def test_generators_depend_on_their_path_alone_and_leave_the_global_one_alone() -> None:
    before = torch.random.get_rng_state()
    one, same, other = (torch.rand(3, generator=derive(7, *path)) for path in [("a", 1), ("a", 1), ("a", 2)])
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(torch.rand(3, generator=spawn(derive(7))), torch.rand(3, generator=derive(7)))
    with global_seed(derive(0)):
        torch.rand(5)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_all_faults_of_a_recipe_come_together() -> None:
    with pytest.raises(BadConfig) as caught:
        Recipe(examples=0, lr=-1.0, momentum=2.0, epochs=3)
    assert len(caught.value.problems) == 4


def test_noise_keeps_every_tensor_length_and_nothing_else(tiny_client, digits_data) -> None:
    update = play(tiny_client, digits_data.private.take([0]), rng=derive(0))
    noise = update.noise(derive(1))
    for name, value in update.values.items():
        assert math.isclose(float(noise.values[name].norm()), float(value.norm()), rel_tol=1e-5)
        assert abs(float(torch.cosine_similarity(noise.values[name].flatten(), value.flatten(), 0))) < 0.6


def test_a_delta_of_one_plain_step_is_a_gradient(tiny_client, digits_data) -> None:
    from dataclasses import replace

    batch = digits_data.private.take([3])
    gradient = play(tiny_client, batch, rng=derive(0))
    client = replace(tiny_client, recipe=Recipe(sends="delta", lr=0.5))
    delta: Update = play(client, batch, rng=derive(0))
    for name, value in delta.as_gradient().items():
        assert torch.allclose(value, gradient.values[name], atol=1e-6)


def test_a_name_that_is_nearly_right_is_suggested() -> None:
    assert did_you_mean("linearbias", ["LinearBias", "DLG"]) == '; did you mean "LinearBias"?'
    assert did_you_mean("qqq", ["LinearBias"]) == ""
