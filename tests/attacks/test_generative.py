"""Generative attacks: what they search, what they read off the update, and the faults of public code that they must not have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gradiometer.attacks.generative import GGL, GIFD, CINet
from gradiometer.attacks.matching import CMA, Adam, Features, Latent, Matching, TuRBO, Untrained
from gradiometer.attacks.matching.descent import factor
from gradiometer.attacks.matching.features import l1_ball
from gradiometer.core import BadConfig, Batch, Client, Data, NotApplicable, Update, Values, derive, play
from gradiometer.defenses import Clip, Prune, Quantize
from gradiometer.metrics.image import psnr
from gradiometer.models import mlp
from gradiometer.numerics.estimated_distance import EstimatedTransform
from gradiometer.numerics.generators import save_generator, train_vae
from gradiometer.numerics.priors import LatentNormal
from gradiometer.numerics.quantizers import uniform
from gradiometer.numerics.terms import Iterate

QUICK = GGL(iterations=60)


def observed(client: Client, data: Data, index: int = 0, **settings: object) -> tuple[Batch, Update]:
    batch = data.private.take([index])
    return batch, play(client, batch, rng=derive(0), public=data.public, **settings)


def spread(attack: Matching, update: Update) -> float:
    values = attack.probe(update, derive(3), starts=8)
    return float(torch.tensor(values).double().std())


@dataclass(frozen=True, kw_only=True)
class QuantizedOnlyInside:
    """The seed's objective: the trial is replaced by the quantized *sent* gradient, and what the client sends is never quantized."""

    def against(self, sent: Values):
        own = uniform(sent, 8, "global")
        error = torch.stack([(own[name] - value).square().sum() for name, value in sent.items()]).sum()
        return lambda simulated: (error, {name: torch.zeros_like(value) for name, value in simulated.items()})


def test_the_seeds_objective_is_constant_over_z_and_ours_is_not(tiny_client: Client, digits_data: Data) -> None:
    raw = observed(tiny_client, digits_data)[1]
    sent = observed(tiny_client, digits_data, defense=Quantize(bits=8))[1]
    assert all(not torch.equal(raw.values[name], sent.values[name]) for name in raw.values), "the message is quantized"
    assert spread(replace(QUICK, distance=QuantizedOnlyInside()), raw) == 0
    for attack in (QUICK, CINet()):
        for update in (raw, sent):
            assert spread(attack, update) > 0


def test_the_derivative_by_z_is_that_of_the_objective(tiny_client: Client, digits_data: Data) -> None:
    update = observed(tiny_client, digits_data)[1]
    attack = replace(QUICK, precision="float64")
    problem, _ = attack._problem(update, derive(1))
    within = problem.within(attack._stages(problem, None)[0].enter(None, derive(2)))
    (z,) = within.start(derive(3))
    point, step = within.objective([z]), 1e-4 * torch.randn(z.shape, generator=derive(4), dtype=z.dtype)
    assert float(point.gradient[0].norm()) > 0
    rise = within.objective([z + step]).value - within.objective([z - step]).value
    assert rise == pytest.approx(2 * float((point.gradient[0] * step).sum()), rel=1e-3)


@pytest.mark.slow
def test_stages_only_come_nearer_and_the_best_is_kept(tiny_client: Client, digits_data: Data) -> None:
    batch, update = observed(tiny_client, digits_data)
    latent, staged = (attack.run(update, derive(1)) for attack in (GGL(iterations=100), GIFD(iterations=100)))
    assert staged.notes["distance"] == min(staged.notes["stages"])
    assert len(staged.notes["stages"]) == 3
    assert staged.notes["distance"] < latent.notes["distance"]
    assert staged.notes["iterations"] == latent.notes["iterations"] == 100
    assert float(psnr(staged["x"], batch["x"])) > float(psnr(latent["x"], batch["x"]))


def test_restarts_are_chosen_by_the_objective_in_every_stage(tiny_client: Client, digits_data: Data) -> None:
    update = observed(tiny_client, digits_data)[1]
    guess = GIFD(iterations=40, restarts=3, halving=5).run(update, derive(1))
    assert len(guess.notes["objectives"]) == 5, "three starts, of which one survives into two more stages"
    assert guess.notes["distance"] == min(guess.notes["stages"])


def test_the_label_is_read_off_and_the_attack_needs_no_truth(tiny_client: Client, digits_data: Data) -> None:
    batch, update = observed(tiny_client, digits_data)
    assert update.labels is None
    guess = QUICK.run(update, derive(1))
    assert torch.equal(guess["y"], batch["y"])
    assert guess.notes["labels"] == "RowSum"


@pytest.mark.slow
def test_clipping_and_pruning_are_read_off_the_update(tiny_client: Client, digits_data: Data) -> None:
    attack = replace(QUICK, iterations=150)
    bare = attack.run(observed(tiny_client, digits_data)[1], derive(1))
    batch, clipped = observed(tiny_client, digits_data, defense=Clip(bound=0.01))
    pruned = observed(tiny_client, digits_data, defense=Prune(keep=0.1))[1]
    for update in (clipped, pruned):
        guess = attack.run(update, derive(1))
        assert float(psnr(guess["x"], batch["x"])) > float(psnr(bare["x"], batch["x"])) - 4
        assert guess.notes["distance"] < 0.05


def test_the_estimated_distance_has_the_slope_that_it_states() -> None:
    rng = derive(5)
    sent = {"a": torch.randn(3, 4, generator=rng).double(), "b": torch.randn(5, generator=rng).double()}
    dropped = {name: value * (value.abs() > 0.8) for name, value in sent.items()}
    for target in (sent, dropped):
        for scale in (0.1, 5.0):  # within the bound, and above it
            near = {name: scale * torch.randn(value.shape, generator=rng).double() for name, value in sent.items()}
            compare = EstimatedTransform().against(target)
            slopes = compare(near)[1]
            for name, value in near.items():
                move = 1e-6 * torch.randn(value.shape, generator=rng).double()
                up, down = (float(compare({**near, name: value + sign * move})[0]) for sign in (1, -1))
                assert up - down == pytest.approx(2 * float((slopes[name] * move).sum()), rel=1e-4, abs=1e-12)
    assert float(EstimatedTransform().against(sent)(sent)[0]) == 0
    assert float(EstimatedTransform().against(dropped)(sent)[0]) < 1e-12, "what was dropped is not compared"
    shrunk = {name: value / 10 for name, value in sent.items()}
    assert float(EstimatedTransform().against(shrunk)(sent)[0]) < 1e-12, "the length that was cut is not compared"


def test_an_l1_ball_is_projected_to_as_the_definition_says() -> None:
    x = torch.tensor([[3.0, -1.0, 0.5], [0.1, 0.2, -0.3]])
    found = l1_ball(x, torch.tensor([2.0, 1.0]))
    assert torch.allclose(found, torch.tensor([[2.0, 0.0, 0.0], [0.1, 0.2, -0.3]]))
    wide = torch.randn(4, 50, generator=derive(0))
    inside = l1_ball(wide, torch.full((4,), 7.0))
    assert torch.allclose(inside.abs().sum(1), torch.full((4,), 7.0), atol=1e-4)
    assert bool(((wide - inside).abs().sum(1) > 0).all())


def test_the_prior_of_z_is_least_for_normal_entries(tiny_client: Client, digits_data: Data) -> None:
    term = LatentNormal(weight=1.0).term(observed(tiny_client, digits_data)[1])
    z = torch.randn(1, 1000, generator=derive(0))
    z = (z - z.mean()) / z.std(correction=0)

    def penalty(latent: Tensor | None) -> float:
        return float(term.penalty(Iterate(x=torch.zeros(1), latent=latent)))

    assert penalty(z) == pytest.approx(0, abs=1e-6)
    assert penalty(z + 1) == pytest.approx(0.5, abs=1e-5)
    assert penalty(2 * z) == pytest.approx(0.5 * (4 - 1 - torch.tensor(4.0).log().item()), abs=1e-4)
    assert penalty(None) == 0


def test_the_ramp_rises_stays_and_falls() -> None:
    assert [round(factor("ramp", p), 3) for p in (0.0, 0.025, 0.05, 0.5, 0.75, 0.875, 1.0)] == [0, 0.5, 1, 1, 1, 0.5, 0]


def test_ci_net_refuses_kinks_and_tries_them_when_told(digits_data: Data) -> None:
    client = Client(model=mlp((1, 8, 8), 10, widths=(32,)), layout=digits_data.layout)
    update = observed(client, digits_data)[1]
    with pytest.raises(NotApplicable, match="ReLU"):
        CINet().run(update, derive(0))
    guess = CINet(iterations=3, unknown=Untrained(kinked=True)).run(update, derive(0))
    assert "x" in guess


def test_a_generator_of_another_shape_is_refused(digits_data: Data, tmp_path: Path) -> None:
    path = save_generator(
        train_vae(torch.rand(4, 3, 16, 16, generator=derive(0)), latent=4, width=2, steps=1), tmp_path / "g.safetensors"
    )
    client = Client(model=mlp((1, 8, 8), 10), layout=digits_data.layout)
    with pytest.raises(NotApplicable, match=r"\(3, 16, 16\)"):
        GGL(unknown=Latent(generator=str(path))).run(observed(client, digits_data)[1], derive(0))


def test_settings_that_contradict_are_refused() -> None:
    with pytest.raises(BadConfig, match="about pictures"):
        replace(QUICK, median_every=3)
    with pytest.raises(BadConfig, match="share"):
        Features(share=1.0)


def test_a_plan_names_a_generator() -> None:
    from gradiometer.audit.spelling import build

    made = build('GGL:unknown="Latent:generator=mine.safetensors"', "attack")
    assert made == GGL(unknown=Latent(generator="mine.safetensors"))
    spec = {
        "name": "GIFD",
        "unknown": {"name": "Features", "generator": "g.npz", "optimizer": {"name": "Adam", "lr": 0.1}},
    }
    assert build(spec, "attack").unknown == Features(generator="g.npz", optimizer=Adam(lr=0.1))


def test_cma_descends_without_derivatives_and_repeats(tiny_client: Client, digits_data: Data) -> None:
    pytest.importorskip("cma", exc_type=ImportError)
    update = observed(tiny_client, digits_data)[1]
    attack = replace(QUICK, optimizer=CMA(), iterations=300)
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    guess = attack.run(update, derive(1))
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002
    assert guess.notes["iterations"] == 300
    assert guess.notes["distance"] < 0.5 * min(attack.probe(update, derive(1), starts=4))
    assert torch.equal(guess["x"], attack.run(update, derive(1))["x"])


@pytest.mark.slow
def test_turbo_descends_without_derivatives_and_repeats(tiny_client: Client, digits_data: Data) -> None:
    update = observed(tiny_client, digits_data)[1]
    attack = replace(QUICK, optimizer=TuRBO(begin=30, remembered=60), iterations=80)
    guess = attack.run(update, derive(1))
    assert guess.notes["iterations"] == 80
    assert min(guess.curve[30:]) < 0.9 * min(guess.curve[:30])
    assert torch.equal(guess["x"], attack.run(update, derive(1))["x"])
