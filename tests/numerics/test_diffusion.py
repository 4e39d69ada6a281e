"""Diffusion models: known answers of the schedule, what seconds of training teach, and files that hold it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gradiometer.core import BadConfig, BadInput, Data, derive
from gradiometer.metrics.image import psnr
from gradiometer.numerics.generators import (
    Diffusion,
    Generator,
    diffusion_of,
    inverted,
    load_generator,
    save_generator,
    train_diffusion,
    train_vae,
)
from gradiometer.numerics.unet import UNet


@pytest.fixture(scope="module")
def tiny(digits_data: Data) -> Generator:
    """Seconds of training on 800 digits."""
    return train_diffusion(digits_data.public["x"], width=8, steps=200)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 20, 13)])
def test_pictures_have_their_shape_and_range(shape: tuple[int, int, int]) -> None:
    model = Diffusion(shape, 4)
    z = torch.randn(2, *shape).flatten(1)
    with torch.no_grad():
        found = model(z)
        each = model.clean(z.view(2, *shape), torch.tensor([0.5, 3.0]))
        alone = model.clean(z.view(2, *shape)[1:], 3.0)
    assert found.shape == (2, *shape)
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert torch.allclose(each[1:], alone, atol=1e-6)


def test_levels_fall_between_their_ends() -> None:
    model = Diffusion((1, 8, 8), 4)
    levels = model.levels(20, 10.0)
    assert len(levels) == 20
    assert levels == sorted(levels, reverse=True)
    assert (levels[0], levels[-1]) == (pytest.approx(10.0), pytest.approx(0.02))
    assert model.levels(1, 3.0) == [pytest.approx(3.0)]
    x, clean = torch.randn(2, 1, 1, 8, 8)
    assert torch.equal(model.stepped(x, clean, 2.0, 0.0), clean)
    assert torch.allclose(model.stepped(x, clean, 2.0, 2.0), x, atol=1e-6)


def test_an_untrained_network_changes_nothing_and_a_level_is_heard() -> None:
    network, x = UNet(2, widths=(8, 8, 8), levels=4), torch.randn(1, 2, 6, 5)
    with torch.no_grad():
        assert torch.equal(network(x, torch.zeros(1, 4)), x)
        network.last.weight.fill_(1.0)
        assert not torch.allclose(network(x, torch.zeros(1, 4)), network(x, torch.ones(1, 4)))


def test_seconds_teach_it_what_digits_are(tiny: Generator, digits_data: Data) -> None:
    unseen = digits_data.test["x"][:64]
    model = diffusion_of(tiny.blocks)
    assert model is not None
    noisy = model.scaled(unseen) + torch.randn(unseen.shape, generator=derive(0))
    seen = model.pixels(model.clean(noisy, 1.0)).clamp(0, 1)
    mean = digits_data.public["x"].mean(0, keepdim=True).expand_as(unseen)
    assert float(psnr(seen, unseen).median()) > float(psnr(mean, unseen).median()) + 0.5
    behind = inverted(tiny, unseen, rng=derive(1))
    assert float(psnr(behind, unseen).median()) > float(psnr(mean, unseen).median()) + 3


def test_training_repeats_bit_for_bit_and_leaves_global_randomness(digits_data: Data) -> None:
    state = torch.get_rng_state()
    one, other = (train_diffusion(digits_data.public["x"], width=2, steps=3) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    z = one.draw(2, derive(0))
    assert torch.equal(one(z), other(z))
    assert not any(parameter.requires_grad for parameter in one.blocks.parameters())


def test_a_file_holds_everything(tiny: Generator, digits_data: Data, tmp_path: Path) -> None:
    path = save_generator(tiny, tmp_path / "g.safetensors")
    read = load_generator(path)
    z = tiny.draw(3, derive(0))
    assert torch.equal(read(z), tiny(z))
    assert (read.card, read.card.architecture, read.card.latent) == (tiny.card, "diffusion", 64)
    assert bool(read.saw(digits_data.public["x"]).all())
    with pytest.raises(BadConfig, match="as many entries"):
        replace(tiny.card, latent=63).build()
    save_generator(replace(tiny, card=replace(tiny.card, widths=(4,))), path)
    with pytest.raises(BadInput, match="do not belong together"):
        load_generator(path)


def test_other_generators_are_none(digits_data: Data) -> None:
    assert diffusion_of(train_vae(digits_data.public["x"], latent=4, width=2, steps=1).blocks) is None
