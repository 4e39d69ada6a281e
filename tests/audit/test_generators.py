"""The audit looks at the generators behind attacks: constant ones, ones that saw the private split, and those of another domain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from gradiometer.attacks.generative import GGL, GuidedDiffusion
from gradiometer.attacks.matching import Diffused, Latent
from gradiometer.audit import audit
from gradiometer.audit.compute import _on_noise
from gradiometer.audit.generators import generator_problems, looked_at
from gradiometer.audit.schema import Result
from gradiometer.audit.targets import Victim
from gradiometer.audit.trials import Trial
from gradiometer.core import Attack, Card, Client, Data, Guess, Update, derive, play
from gradiometer.numerics.generators import Generator, save_generator, train_diffusion, train_vae


@pytest.fixture(scope="module")
def honest(digits_data: Data) -> Generator:
    return _trained(digits_data.public["x"])


def _trained(x: Tensor, steps: int = 300) -> Generator:
    return train_vae(x, latent=16, width=8, steps=steps)


@pytest.fixture
def run(tiny_client: Client, digits_data: Data, tmp_path: Path) -> Callable[[Generator], Result]:
    def run(generator: Generator) -> Result:
        path = save_generator(generator, tmp_path / "g.safetensors")
        return audit(
            client=tiny_client,
            data=digits_data,
            attacks=[GGL(unknown=Latent(generator=str(path)), iterations=60)],
            settings={"examples": 1, "candidates": 40, "jobs": 1},
            utility={"rounds": 0},
        )

    return run


def _failed(result: Result) -> str:
    return "; ".join(check.detail for check in result.checks if not check.ok)


def test_an_honest_generator_passes_and_is_told_beside_its_controls(
    run: Callable[[Generator], Result], honest: Generator
) -> None:
    result = run(honest)
    assert _failed(result) == ""
    (cell,) = result.cells
    assert cell.psnr is not None
    assert cell.noise_psnr is not None
    assert cell.oracle_psnr is not None
    assert cell.psnr.value > cell.noise_psnr.value + 3
    assert cell.oracle_psnr.value > cell.noise_psnr.value + 3
    assert "that the generator made" in result.controls[0].reason


def test_a_constant_generator_is_flagged(run: Callable[[Generator], Result], honest: Generator) -> None:
    weights = {name: value.clone() for name, value in honest.blocks.state_dict().items()}
    weights["0.0.weight"].zero_()
    blocks = honest.card.build()
    blocks.load_state_dict(weights)
    result = run(replace(honest, blocks=blocks))
    assert "does not depend on what it searches for" in _failed(result)
    assert result.cells[0].status == "inconclusive"


def problems(generator: Generator, client: Client, data: Data) -> str:
    victim = Victim(name="digits", client=client, data=data, batches=tuple((i,) for i in range(30)))
    return "; ".join(generator_problems(looked_at(generator, victim, derive(0))))


def test_a_generator_that_saw_the_private_split_is_flagged(tiny_client: Client, digits_data: Data) -> None:
    private = _trained(digits_data.private["x"], steps=400)
    assert "30 attacked examples are among the 40 pictures" in problems(private, tiny_client, digits_data)
    unknown = replace(private, prints=None)
    assert "shows the attacked examples better" in problems(unknown, tiny_client, digits_data)


@pytest.mark.slow
def test_a_generator_of_another_domain_is_flagged(honest: Generator, tiny_client: Client, digits_data: Data) -> None:
    rng = torch.Generator().manual_seed(0)
    stripes = (torch.rand(400, 1, 1, 8, generator=rng) > 0.5).float().expand(400, 1, 8, 8)
    assert "cannot show such pictures" in problems(_trained(stripes.contiguous(), 100), tiny_client, digits_data)
    assert problems(honest, tiny_client, digits_data) == ""


@pytest.mark.slow
def test_diffusion_models_are_looked_at_as_decoders_are(tiny_client: Client, digits_data: Data, tmp_path: Path) -> None:
    honest = train_diffusion(digits_data.public["x"], width=8, steps=500)
    assert problems(honest, tiny_client, digits_data) == ""
    told = problems(train_diffusion(digits_data.private["x"], width=8, steps=5), tiny_client, digits_data)
    assert "30 attacked examples are among the 40 pictures" in told
    stripes = (torch.rand(400, 1, 1, 8, generator=derive(0)) > 0.5).float().expand(400, 1, 8, 8).contiguous()
    told = problems(train_diffusion(stripes, width=8, steps=200), tiny_client, digits_data)
    assert "cannot show such pictures" in told


@pytest.mark.slow
def test_an_audit_tells_a_guided_model_from_a_constant_one(
    tiny_client: Client, digits_data: Data, tmp_path: Path
) -> None:
    honest = train_diffusion(digits_data.public["x"], width=8, steps=500)
    constant = train_diffusion(digits_data.public["x"], width=8, steps=1)
    constant.blocks[0].std.zero_()
    failed = []
    for name, generator in (("honest", honest), ("constant", constant)):
        path = save_generator(generator, tmp_path / f"{name}.safetensors")
        result = audit(
            client=tiny_client,
            data=digits_data,
            attacks=[GuidedDiffusion(unknown=Diffused(generator=str(path), levels=8), iterations=80)],
            settings={"examples": 1, "candidates": 40, "jobs": 1},
            utility={"rounds": 0},
        )
        failed.append(_failed(result))
        (cell,) = result.cells
        assert cell.generative
        assert cell.noise_psnr is not None
        assert cell.oracle_psnr is None
    assert failed[0] == ""
    assert "does not depend on what it searches for" in failed[1]


@dataclass(frozen=True, kw_only=True)
class Sees(Attack):
    """Tells which labels it was granted."""

    card: ClassVar[Card] = Card(summary="only for tests", family="generative")

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        return Guess(tensors={"x": torch.zeros(1, 1, 8, 8)}, notes={"saw": update.need("labels").tolist()})


def test_the_prior_only_attacker_has_the_label_that_was_found_and_no_truth(
    tiny_client: Client, digits_data: Data
) -> None:
    truth = digits_data.private.take([0])
    update = play(tiny_client, truth, rng=derive(0), public=digits_data.public)
    wrong = (truth["y"] + 1) % 10
    trial = Trial(id="0" * 16, kind="attack", client="digits")
    blind, refused = _on_noise(Sees(), update, Guess(tensors={"y": wrong}), 0, trial)
    assert refused == ""
    assert blind is not None
    assert blind.notes["saw"] == wrong.tolist()
