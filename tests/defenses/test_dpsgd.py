"""DPSGD against gradients taken one example at a time, and what it proves."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from gradiometer.core import (
    BadConfig,
    Batch,
    Client,
    Data,
    Memory,
    Recipe,
    Threat,
    Unsupported,
    clone_model,
    derive,
    play,
    simulate,
    trainable,
)
from gradiometer.defenses import DPSGD, BatchNormToGroupNorm, Clip, GaussianNoise, Quantize, chain
from gradiometer.federation import federate
from gradiometer.models.lenet import lenet
from gradiometer.models.mlp import mlp
from gradiometer.numerics.accounting import composed_epsilon, gaussian_epsilon


def whole(values: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.flatten() for value in values.values()])


def singly(client: Client, batch: Batch) -> list[dict[str, Tensor]]:
    """Gradients of single examples, by ordinary autograd."""
    one = Recipe(examples=1)
    return [simulate(client.model, client.loss, one, batch.take([i])).values for i in range(batch.size)]


@pytest.fixture
def client(digits_data: Data) -> Client:
    """In double precision, so that equality is to 1e-12."""
    return Client(model=mlp((1, 8, 8), 10, widths=(16,)).double(), layout=digits_data.layout)


@pytest.fixture
def batch(digits_data: Data) -> Batch:
    part = digits_data.private.take(slice(0, 7))
    return part.replace(x=part["x"].double())


@pytest.mark.parametrize("microbatch", [1, 3, 64])
@pytest.mark.parametrize("clipping", ["flat", "per_layer"])
def test_sum_of_clipped_gradients(client: Client, batch: Batch, clipping: str, microbatch: int) -> None:
    gradients = singly(client, batch)
    lengths = [whole(g).norm() for g in gradients]
    bound = float(torch.stack(lengths).median())  # some are clipped and some are not
    clip = Clip(bound=bound, norm="l2" if clipping == "flat" else "per_layer")
    expected = sum(whole(clip.on_gradients(g, rng=derive(0), memory={})) for g in gradients) / batch.size
    defense = DPSGD(bound=bound, noise_multiplier=0.0, clipping=clipping, microbatch=microbatch)  # type: ignore[arg-type]
    sent = play(client, batch, rng=derive(0), defense=defense)
    assert torch.allclose(whole(sent.values), expected, rtol=0, atol=1e-12)
    assert not torch.allclose(expected, whole(play(client, batch, rng=derive(0)).values), atol=1e-4)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        Recipe(sends="delta", epochs=3, batch_size=3, lr=0.1, shuffle=True),
        Recipe(sends="delta", epochs=2, lr=0.1, momentum=0.9, mode="train"),
        Recipe(sends="delta", epochs=2, lr=0.01, optimizer="adam"),
    ],
    ids=["FedSGD", "FedAvg", "momentum", "Adam"],
)
@pytest.mark.parametrize("clipping", ["flat", "per_layer", "adaptive"])
def test_without_bound_and_noise_it_is_plain_training(
    client: Client, batch: Batch, recipe: Recipe, clipping: str
) -> None:
    client = replace(client, recipe=recipe)
    defense = DPSGD(bound=1e9, noise_multiplier=0.0, clipping=clipping)  # type: ignore[arg-type]
    raw, sent = (whole(play(client, batch, rng=derive(0), defense=d).values) for d in (None, defense))
    assert torch.allclose(sent, raw, rtol=1e-6, atol=1e-12)


def test_every_local_step_is_clipped(client: Client, batch: Batch) -> None:
    """T steps of gradients within C, at rate lr, move the weights by at most T lr C."""
    recipe = Recipe(sends="delta", epochs=3, batch_size=2, lr=0.1)
    sent = play(
        replace(client, recipe=recipe), batch, rng=derive(0), defense=DPSGD(bound=1e-3, noise_multiplier=0.0)
    ).values
    assert 0 < float(whole(sent).norm()) <= 12 * 0.1 * 1e-3 * (1 + 1e-9)


@pytest.mark.parametrize("clipping", ["flat", "per_layer"])
def test_noise_has_the_stated_size(client: Client, batch: Batch, clipping: str) -> None:
    clean, noisy = (
        whole(
            play(client, batch, rng=derive(0), defense=DPSGD(bound=0.2, noise_multiplier=z, clipping=clipping)).values
        )  # type: ignore[arg-type]
        for z in (0.0, 3.0)
    )
    assert float((noisy - clean).std()) == pytest.approx(3.0 * 0.2 / batch.size, rel=0.1)


def test_poisson_sampling_divides_by_the_expected_batch(client: Client, batch: Batch) -> None:
    """Over many steps the mean is that of all examples; empty steps send noise alone."""
    defense = DPSGD(bound=1e9, noise_multiplier=0.0, rate=0.2)
    raw = whole(play(client, batch, rng=derive(0)).values)
    draws = torch.stack([whole(play(client, batch, rng=derive(i), defense=defense).values) for i in range(100)])
    variance = sum(whole(g).square().sum() for g in singly(client, batch)) * 0.2 * 0.8 / (0.2 * batch.size) ** 2
    assert 0.5 < float((draws - raw).square().sum(1).mean() / variance) < 1.5
    assert float((draws.mean(0) - raw).square().sum() / variance) < 4 / 100
    empty = float((draws == 0).all(1).double().mean())
    assert empty == pytest.approx(0.8**batch.size, abs=0.13)
    noisy = play(client, batch.take([0]), rng=derive(0), defense=DPSGD(bound=0.5, noise_multiplier=2.0, rate=1e-9))
    assert float(whole(noisy.values).std()) * 1e-9 == pytest.approx(1.0, rel=0.1)


def test_adaptive_bound_finds_the_quantile(client: Client, digits_data: Data) -> None:
    """From far above and far below, C settles where the stated share of the norms lies below."""
    part = digits_data.private
    part = part.replace(x=part["x"].double())
    norms = torch.stack([whole(g).norm() for g in singly(client, part)])
    for start in (0.05, 20.0):
        memory: Memory = {}
        defense = DPSGD(bound=start, noise_multiplier=0.1, clipping="adaptive", quantile=0.7, pace=0.5)
        for i in range(30):
            play(client, part, rng=derive(i), defense=defense, memory=memory)
        assert float((norms <= memory["bound"]).double().mean()) == pytest.approx(0.7, abs=0.12)


def test_adaptive_clipping_pays_for_its_counts(client: Client, batch: Batch) -> None:
    """z_delta = (z^-2 - (2 sigma_b)^-2)^(-1/2): with counts noised by z, a factor of sqrt(4/3)."""
    means = [
        whole(
            play(client, batch, rng=derive(0), defense=DPSGD(bound=0.2, noise_multiplier=z, clipping="adaptive")).values
        )
        for z in (0.0, 3.0)
    ]
    assert float((means[1] - means[0]).std()) == pytest.approx(math.sqrt(4 / 3) * 3 * 0.2 / batch.size, rel=0.1)


def test_epsilon_counts_epochs_rounds_and_the_sampling_rate() -> None:
    defense = DPSGD(noise_multiplier=2.0)
    assert defense.epsilon(1e-5) == gaussian_epsilon(1 / 2, 1e-5)
    recipe = Recipe(sends="delta", epochs=4, batch_size=2, examples=10)
    assert defense.epsilon(1e-5, recipe=recipe, threat=Threat(rounds=3)) == gaussian_epsilon(math.sqrt(12) / 2, 1e-5)
    sampled = replace(defense, rate=0.1).epsilon(1e-5, threat=Threat(rounds=50))
    assert sampled == composed_epsilon(2.0, rate=0.1, steps=50, delta=1e-5)
    assert sampled < defense.epsilon(1e-5, threat=Threat(rounds=50))  # type: ignore[operator]
    assert DPSGD(noise_multiplier=0.0).epsilon() is None


def test_in_a_chain_what_follows_is_harmless() -> None:
    private = DPSGD(bound=0.5, noise_multiplier=2.0)
    assert chain(private, Quantize(bits=4)).epsilon() == private.epsilon()
    both = chain(private, Clip(bound=1.0), GaussianNoise(std=8.0))
    assert both.epsilon() == gaussian_epsilon(2 / 8, 1e-5)


def test_chain_with_group_norm_trains_a_batch_norm_model(digits_data: Data) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
    client = Client(model=model, layout=digits_data.layout, recipe=Recipe(mode="train"))
    batch = digits_data.private.take(slice(0, 4))
    with pytest.raises(Unsupported, match="batch normalization"):
        play(client, batch, rng=derive(0), defense=DPSGD())
    defense = chain(BatchNormToGroupNorm(), DPSGD(bound=0.5, noise_multiplier=0.1))
    sent = play(client, batch, rng=derive(0), defense=defense)
    assert defense.epsilon() == gaussian_epsilon(1 / 0.1, 1e-5)
    assert all(torch.isfinite(value).all() for value in sent.values.values())


def test_values_made_without_private_steps_are_refused(client: Client, batch: Batch) -> None:
    values = client.train(batch, rng=derive(0)).values
    with pytest.raises(Unsupported, match="nothing is sent"):
        DPSGD().on_gradients(values, rng=derive(0), memory={})
    memory: Memory = {}
    play(client, batch, rng=derive(0), defense=DPSGD(), memory=memory)
    with pytest.raises(Unsupported, match="nothing is sent"):  # one training, one message
        DPSGD().on_gradients(values, rng=derive(0), memory=memory)


def test_federated_training_runs_with_it(digits_data: Data) -> None:
    client = Client(
        model=mlp((1, 8, 8), 10, widths=(32,)),
        layout=digits_data.layout,
        recipe=Recipe(sends="delta", examples=100, batch_size=20, lr=0.5),
    )
    done = federate(
        client,
        digits_data.public,
        digits_data.test,
        defense=DPSGD(noise_multiplier=0.5),
        clients=2,
        rounds=6,
        alpha=9.0,
    )
    assert done.accuracy[-1] > done.majority + 0.3
    assert not torch.equal(whole(trainable(done.model)), whole(trainable(client.model)))


@pytest.mark.parametrize(
    "settings",
    [
        {"bound": 0.0},
        {"noise_multiplier": -1.0},
        {"noise_multiplier": math.nan},
        {"rate": 0.0},
        {"rate": 1.5},
        {"quantile": 1.0},
        {"pace": 0.0},
        {"microbatch": 0},
        {"bound": math.inf},
        {"bound": math.inf, "noise_multiplier": 0.0, "clipping": "adaptive"},
    ],
)
def test_settings_out_of_range(settings: dict[str, float]) -> None:
    with pytest.raises(BadConfig):
        DPSGD(**settings)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_clipped_sum_is_that_of_opacus(digits_data: Data) -> None:
    """A convolutional network, half of its examples clipped: the same sum as Opacus' optimizer without noise."""
    pytest.importorskip("opacus")
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer

    client = Client(model=lenet((1, 8, 8), 10).double(), layout=digits_data.layout)
    part = digits_data.private.take(slice(0, 12))
    part = part.replace(x=part["x"].double())
    bound = float(torch.stack([whole(g).norm() for g in singly(client, part)]).median())
    sent = play(client, part, rng=derive(0), defense=DPSGD(bound=bound, noise_multiplier=0.0, microbatch=5)).values
    theirs = GradSampleModule(clone_model(client.model))
    plain = torch.optim.SGD(theirs.parameters(), lr=1.0)
    optimizer = DPOptimizer(plain, noise_multiplier=0.0, max_grad_norm=bound, expected_batch_size=12)
    torch.nn.functional.cross_entropy(theirs(part["x"]), part["y"]).backward()
    optimizer.pre_step()
    for name, parameter in theirs._module.named_parameters():
        assert torch.allclose(parameter.grad, sent[name], rtol=0, atol=1e-6 * bound)  # they divide by norm + 1e-6
