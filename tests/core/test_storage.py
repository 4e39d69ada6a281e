"""Updates on disk: what comes back is what went in, and nothing unknown comes in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from gradiometer.core import (
    BadInput,
    Client,
    Data,
    MissingKnowledge,
    Recipe,
    Threat,
    Update,
    derive,
    load_update,
    play,
    save_update,
)
from gradiometer.models import mlp


@pytest.fixture
def update(digits_data: Data) -> Update:
    recipe = Recipe(sends="delta", epochs=2, batch_size=2, lr=0.1, momentum=0.5, shares_buffers=True)
    client = Client(model=mlp((1, 8, 8), 10, widths=(8,)), layout=digits_data.layout, recipe=recipe)
    batch = digits_data.private.take(slice(0, 3))
    return play(
        client, batch, rng=derive(0), threat=Threat(labels=True), public=digits_data.public.take(slice(0, 5)), round=4
    )


def test_a_round_trip_keeps_every_field(update: Update, tmp_path: Path) -> None:
    path = save_update(update, tmp_path / "round.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["round.safetensors"]
    back = load_update(path, model=mlp((1, 8, 8), 10, widths=(8,), seed=9))
    assert update.values.keys() == back.values.keys()
    assert all(torch.equal(value, back.values[name]) for name, value in update.values.items())
    assert all(torch.equal(value, back.public[name]) for name, value in update.public.items())
    assert torch.equal(update.labels, back.labels)
    state = back.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in update.model.state_dict().items())
    for name in ("sends", "recipe", "batch_size", "clients", "round", "wire_bytes"):
        assert getattr(update, name) == getattr(back, name)
    assert dict(update.layout) == back.layout


def test_what_the_threat_withholds_stays_withheld(update: Update, tmp_path: Path) -> None:
    bare = update.under(Threat(model=False, recipe=False, batch_size=False, buffers=False, public=False))
    back = load_update(save_update(bare, tmp_path / "bare.safetensors"))
    for name in ("model", "loss", "recipe", "batch_size", "labels", "buffers", "public"):
        assert not back.knows(name)


def test_a_recipe_does_not_tell_the_batch_size_that_is_withheld(update: Update, tmp_path: Path) -> None:
    bare = update.replace(recipe=Recipe(examples=4, batch_size=2, sends="delta"), batch_size=4, sends="delta")
    bare = bare.under(Threat(batch_size=False))
    assert bare.recipe is not None
    assert bare.recipe.examples == 1
    with pytest.raises(MissingKnowledge, match="batch_size"):
        bare.as_gradient()
    back = load_update(save_update(bare, tmp_path / "bare.safetensors"))
    assert back.batch_size is None
    assert back.recipe == bare.recipe


def rewritten(path: Path, header=lambda h: h, **more: torch.Tensor) -> Path:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()} | more  # noqa: SIM118 - no mapping
        old = json.loads(file.metadata()["gradiometer"])
    save_file(tensors, path, metadata={"gradiometer": json.dumps(header(old))})
    return path


DAMAGE = {
    "an unknown group": ({"code/x": torch.ones(1)}, lambda h: h, "unknown entry 'code/x'"),
    "more examples than memory": (
        {},
        lambda h: h | {"batch_size": 2**40, "recipe": h["recipe"] | {"examples": 2**40}},
        "examples in one update",
    ),
    "two batch sizes": ({}, lambda h: h | {"batch_size": 7}, "examples and the update 7"),
    "an entry without a group": ({"x": torch.ones(1)}, lambda h: h, "unknown entry 'x'"),
    "a number that is not finite": ({"values/1.bias": torch.full((8,), torch.nan)}, lambda h: h, "not finite"),
    "another version": ({}, lambda h: h | {"version": 99}, "version 99"),
    "another format": ({}, lambda h: h | {"format": "pickle"}, "format"),
    "no header": ({}, lambda h: None, "format"),
    "an unknown setting of the recipe": ({}, lambda h: h | {"recipe": h["recipe"] | {"hook": "os"}}, "hook"),
    "an unknown property of a field": (
        {},
        lambda h: h | {"layout": h["layout"] | {"x": h["layout"]["x"] | {"loader": "os"}}},
        "loader",
    ),
    "a negative count": ({}, lambda h: h | {"clients": -1}, "negative"),
    "another kind of update": ({}, lambda h: h | {"sends": "weights"}, "sends"),
}


@pytest.mark.parametrize(("tensors", "header", "says"), DAMAGE.values(), ids=DAMAGE)
def test_what_is_unknown_or_damaged_is_refused_by_name(update: Update, tmp_path: Path, tensors, header, says) -> None:
    path = rewritten(save_update(update, tmp_path / "bad.safetensors"), header, **tensors)
    with pytest.raises(BadInput, match=says) as caught:
        load_update(path)
    assert "bad.safetensors" in str(caught.value)


def test_a_model_of_another_shape_is_refused(update: Update, tmp_path: Path) -> None:
    path = save_update(update, tmp_path / "round.safetensors")
    with pytest.raises(BadInput, match="does not belong to this model"):
        load_update(path, model=mlp((1, 8, 8), 10, widths=(9,)))
    with pytest.raises(BadInput, match="there is no such file"):
        load_update(tmp_path / "none.safetensors")


def test_an_unknown_top_level_field_is_refused(update: Update, tmp_path: Path) -> None:
    path = rewritten(save_update(update, tmp_path / "odd.safetensors"), lambda h: h | {"script": "os.system"})
    with pytest.raises(BadInput, match="script"):
        load_update(path)
