"""Generators: what is written is what is read, nothing else is read, and a VAE of seconds shows more than the mean picture."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from gradiometer.core import BadInput, Data, derive
from gradiometer.metrics.image import psnr
from gradiometer.numerics.generators import (
    Generator,
    GeneratorCard,
    convolutional,
    fingerprints,
    inverted,
    load_generator,
    save_generator,
    train_vae,
)


@pytest.fixture(scope="module")
def tiny(digits_data: Data) -> Generator:
    """Seconds of training on 800 digits."""
    return train_vae(digits_data.public["x"], latent=16, width=8, steps=250)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 20, 13), (1, 64, 64)])
def test_pictures_have_their_shape_and_range(shape: tuple[int, int, int]) -> None:
    found = convolutional(shape, latent=5, width=2)(torch.randn(3, 5)).detach()
    assert found.shape == (3, *shape)
    assert 0 <= float(found.min()) <= float(found.max()) <= 1


def test_a_short_training_shows_unseen_digits_better_than_their_mean(tiny: Generator, digits_data: Data) -> None:
    unseen = digits_data.test["x"][:32]
    shown = inverted(tiny, unseen, rng=derive(0), steps=150)
    mean = digits_data.public["x"].mean(0, keepdim=True).expand_as(unseen)
    assert float((psnr(shown, unseen) - psnr(mean, unseen)).median()) > 5
    assert torch.equal(shown, inverted(tiny, unseen, rng=derive(0), steps=150))


def test_training_repeats_bit_for_bit_and_leaves_global_randomness(digits_data: Data) -> None:
    state = torch.get_rng_state()
    one, other = (train_vae(digits_data.public["x"], latent=4, width=2, steps=3) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    z = one.draw(2, derive(0))
    assert torch.equal(one(z), other(z))
    assert not any(parameter.requires_grad for parameter in one.blocks.parameters())


def test_the_oracle_finds_what_the_generator_made(tiny: Generator) -> None:
    made = tiny(tiny.draw(4, derive(1)))
    assert float(psnr(inverted(tiny, made, rng=derive(2), steps=400), made).median()) > 30


def test_fingerprints_tell_who_was_trained_on(tiny: Generator, digits_data: Data) -> None:
    assert bool(tiny.saw(digits_data.public["x"]).all())
    assert not bool(tiny.saw(digits_data.private["x"]).any())
    assert len(fingerprints(digits_data.private["x"]).unique()) == 40


def test_a_file_holds_everything(tiny: Generator, tmp_path: Path) -> None:
    read = load_generator(save_generator(tiny, tmp_path / "g.safetensors"))
    z = tiny.draw(3, derive(0))
    assert torch.equal(read(z), tiny(z))
    assert read.card == tiny.card
    assert read.card.examples == 800
    assert torch.equal(read.prints, tiny.prints)


def test_damaged_files_are_refused_by_name(tiny: Generator, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    good = {f"blocks/{name}": value for name, value in tiny.blocks.state_dict().items()}
    card = asdict(tiny.card)

    def refused(tensors: dict[str, torch.Tensor], card: dict[str, object], match: str) -> None:
        header = {"format": "gradiometer.generator", "version": 1, "card": card}
        path = tmp_path / "bad.safetensors"
        save_file(tensors, path, metadata={"gradiometer": json.dumps(header)})
        with pytest.raises(BadInput, match=match):
            load_generator(path)

    refused(good, card | {"command": "rm"}, "unknown entry 'command'")
    refused(good, card | {"latent": 17}, "do not belong together")
    refused(good, card | {"widths": [10**7]}, "do not belong together")
    refused(good | {"hook": torch.zeros(1)}, card, "belongs to no generator")
    refused(good | {"prints": torch.zeros(1)}, card, "belongs to no generator")
    refused(good | {"blocks/0.0.weight": good["blocks/0.0.weight"] * float("nan")}, card, "not finite")
    refused({name: value for name, value in good.items() if "0.0" not in name}, card, "do not belong together")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(BadInput, match="not a readable generator"):
        load_generator(tmp_path / "junk.safetensors")
    with pytest.raises(BadInput, match="no such generator"):
        load_generator(tmp_path / "none.safetensors")


def test_published_perceptrons_are_read_and_pickles_are_not(tmp_path: Path) -> None:
    sizes = [(6, 4), (5, 6), (9, 5)]
    layers = {f"{2 * i}.weight": np.ones(size, dtype=np.float32) for i, size in enumerate(sizes)}
    layers |= {f"{2 * i}.bias": np.zeros(size[0], dtype=np.float32) for i, size in enumerate(sizes)}
    np.savez(tmp_path / "gan.npz", **layers)
    read = load_generator(tmp_path / "gan.npz")
    assert read.card == GeneratorCard(
        architecture="perceptron",
        shape=(1, 3, 3),
        latent=4,
        widths=(6, 5),
        output="tanh",
        method="gan",
        data="gan",
        split="unknown: the file has no card",
    )
    assert read(torch.zeros(1, 4)).allclose(torch.full((1, 1, 3, 3), 0.5))
    assert read.prints is None
    np.savez(tmp_path / "evil.npz", x=np.array([{}], dtype=object))
    with pytest.raises(BadInput, match=r"evil\.npz"):
        load_generator(tmp_path / "evil.npz")
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    with pytest.raises(BadInput, match="holds no layers"):
        load_generator(tmp_path / "other.npz")


def test_what_cannot_be_learned_from_is_refused(digits_data: Data) -> None:
    for wrong in (digits_data.public["x"][:1], digits_data.public["x"][:, 0], digits_data.public["x"] * 2):
        with pytest.raises(BadInput):
            train_vae(wrong)
