"""GuidedDiffusion: what it finds over its own search on noise, what the levels do, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gradiometer.attacks.generative import GIFD, GuidedDiffusion
from gradiometer.attacks.matching import Diffused, Features
from gradiometer.attacks.matching.prior import generator_for
from gradiometer.core import BadConfig, Batch, Client, Data, NotApplicable, Update, derive, play
from gradiometer.metrics.image import psnr
from gradiometer.numerics.generators import diffusion_of, save_generator, train_diffusion, train_vae

QUICK = GuidedDiffusion(unknown=Diffused(levels=8), iterations=80)


def observed(client: Client, data: Data) -> tuple[Batch, Update]:
    batch = data.private.take([0])
    return batch, play(client, batch, rng=derive(0), public=data.public)


def test_the_update_pulls_and_the_prior_alone_does_not_know(tiny_client: Client, digits_data: Data) -> None:
    batch, update = observed(tiny_client, digits_data)
    guess = QUICK.run(update, derive(1))
    assert torch.equal(guess["y"], batch["y"])
    blind = QUICK.run(update.noise(derive(2)).replace(labels=guess["y"]), derive(1))
    found, control = (float(psnr(one["x"], batch["x"])) for one in (guess, blind))
    assert found > control + 3
    assert len(guess.notes["stages"]) == 8
    assert guess.notes["distance"] == min(guess.notes["stages"]) < 0.1 * guess.notes["stages"][0]
    assert guess.notes["iterations"] == 80


def test_between_levels_the_seen_noise_stays_or_is_drawn_anew(tiny_client: Client, digits_data: Data) -> None:
    update = observed(tiny_client, digits_data)[1]
    like = torch.zeros(1, 1, 8, 8)
    model = diffusion_of(generator_for("public diffusion", update, like).blocks)
    assert model is not None
    high, low = model.levels(2, 10.0)
    x = high * torch.randn(like.shape, generator=derive(3))
    kept, fresh, other = (
        Diffused(levels=2, fresh=share).stages(update, like)[1].enter([x], derive(seed)).first[0]
        for share, seed in ((0.0, 0), (1.0, 0), (0.0, 1))
    )
    with torch.no_grad():
        clean = model.clean(x, high)
    assert torch.allclose(kept, model.stepped(x, clean, high, low), atol=1e-5)
    assert torch.equal(kept, other), "without fresh noise a step is deterministic"
    drawn = torch.randn(like.shape, generator=derive(0))
    assert torch.allclose(fresh, clean + low * drawn, atol=1e-5)


def test_steps_fall_with_the_level(tiny_client: Client, digits_data: Data) -> None:
    update = observed(tiny_client, digits_data)[1]
    stages = Diffused(levels=4, pull=0.2).stages(update, torch.zeros(1, 1, 8, 8))
    rates = [stage.optimizer.lr for stage in stages]
    assert rates[0] == pytest.approx(2.0)
    assert rates[-1] == pytest.approx(0.004)
    assert sum(stage.share for stage in stages) == pytest.approx(1)


def test_generators_and_searches_that_do_not_belong_together_are_refused(
    tiny_client: Client, digits_data: Data, tmp_path: Path
) -> None:
    update = observed(tiny_client, digits_data)[1]
    decoder = save_generator(
        train_vae(digits_data.public["x"], latent=4, width=2, steps=1), tmp_path / "vae.safetensors"
    )
    with pytest.raises(NotApplicable, match="no diffusion model"):
        replace(QUICK, unknown=Diffused(generator=str(decoder))).run(update, derive(0))
    model = save_generator(train_diffusion(digits_data.public["x"], width=2, steps=1), tmp_path / "d.safetensors")
    with pytest.raises(NotApplicable, match="no features"):
        GIFD(unknown=Features(generator=str(model))).run(update, derive(0))
    with pytest.raises(BadConfig) as caught:
        Diffused(levels=0, pull=0.0, fresh=2.0)
    assert len(caught.value.problems) == 3


def test_a_plan_names_its_model() -> None:
    from gradiometer.audit.spelling import build

    made = build('GuidedDiffusion:unknown="Diffused:generator=mine.safetensors"', "attack")
    assert made == GuidedDiffusion(unknown=Diffused(generator="mine.safetensors"))
