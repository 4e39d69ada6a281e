"""`train_prior` learns from public pictures only, by each method; and its command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gradiometer.cli import main
from gradiometer.core import BadConfig, Batch, Data, Unsupported, derive
from gradiometer.models.generators import METHODS, train_prior
from gradiometer.numerics.generators import load_generator


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_from_the_public_side_alone(method: str, digits_data: Data) -> None:
    hidden = replace(digits_data, private=Batch(x=torch.full((1, 1, 8, 8), torch.nan), y=torch.zeros(1).long()))
    made = train_prior(hidden, method=method, latent=8, width=4, steps=4, limit=200)
    assert made.card.method == method
    assert made.card.examples == 200
    assert made.card.data == "digits"
    assert int(made.saw(digits_data.public["x"]).sum()) >= 200
    assert made(made.draw(2, derive(0))).shape == (2, 1, 8, 8)


def test_without_public_pictures_there_is_no_prior(digits_data: Data) -> None:
    with pytest.raises(Unsupported, match="public pictures"):
        train_prior(replace(digits_data, public=None))
    with pytest.raises(BadConfig, match="limit 1"):
        train_prior(digits_data, limit=1)


def test_the_command_writes_a_file_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "g.safetensors"
    words = ["prior", "train", "digits", "--steps", "2", "--latent", "4", "--width", "2", "-o", str(path)]
    assert main(words) == 0
    made = load_generator(path)
    assert made.card.license
    assert made.card.split == "public"
    capsys.readouterr()
    assert main(["prior", "show", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "1x8x8" in shown
    assert "public" in shown
