"""The objective behind a published claim that quantization stops generative attacks, and ours, on the same update.

The public code never quantizes what the client sends. It puts the quantizer into the attacker's objective, in place of
the attacker's trial: `loss(z) = ||Q(g*) - g*||^2`, with g* the observed gradient, does not depend on the latent z, and the
attack fails by construction. Its second path quantizes the trial through numpy, which cuts the derivative.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gradiometer.attacks.image import InvertingGradients
from gradiometer.core import Batch, Client, Data, Threat, Update, derive, play, simulate
from gradiometer.defenses import QSGD, Quantize, Sign, Ternary
from gradiometer.numerics.quantizers import uniform

QUANTIZERS = [Quantize(bits=8), Quantize(bits=2), Quantize(bits=2, scheme="symmetric"), QSGD(), Ternary(), Sign()]


def generator(latent: Tensor) -> Tensor:
    """A small fixed generator of 8 x 8 pictures from 16 numbers."""
    weights = torch.randn(16, 64, generator=derive(0, "generator"))
    return (latent @ weights).sigmoid().reshape(1, 1, 8, 8)


def trial(client: Client, latent: Tensor, update: Update) -> dict[str, Tensor]:
    batch = Batch(x=generator(latent), y=update.need("labels"))
    return simulate(client.model, client.loss, client.recipe, batch, differentiable=True).values


@pytest.fixture
def update(tiny_client: Client, digits_data: Data) -> Update:
    batch = digits_data.private.take(slice(0, 1))
    return play(tiny_client, batch, rng=derive(0), defense=Quantize(bits=8), threat=Threat(labels=True))


def spread(loss: Callable[[Tensor], Tensor]) -> float:
    """Standard deviation of the loss over 8 random latents."""
    return float(torch.stack([loss(torch.randn(1, 16, generator=derive(i))).detach() for i in range(8)]).std())


def test_the_public_objective_is_constant(update: Update, tiny_client: Client) -> None:
    observed = update.values

    def broken(latent: Tensor) -> Tensor:
        replaced = uniform(observed, 8, "global")  # the trial of `latent` is thrown away
        return torch.stack([(replaced[name] - observed[name]).square().sum() for name in observed]).sum()

    assert spread(broken) == 0


def test_the_public_derivative_is_cut(update: Update, tiny_client: Client) -> None:
    latent = torch.zeros(1, 16, requires_grad=True)
    quantized = {k: torch.from_numpy(v.detach().numpy()) for k, v in trial(tiny_client, latent, update).items()}
    loss = torch.stack([(quantized[k] - v).square().sum() for k, v in update.values.items()]).sum()
    assert not loss.requires_grad


@pytest.mark.parametrize("defense", QUANTIZERS, ids=str)
def test_ours_depends_on_the_latent(defense: Quantize, tiny_client: Client, digits_data: Data) -> None:
    """The informed objective varies over latents, with a derivative, for every quantizer."""
    batch = digits_data.private.take(slice(0, 1))
    update = play(tiny_client, batch, rng=derive(0), defense=defense, threat=Threat(labels=True))
    channel = defense.channel()
    assert channel is not None

    def ours(latent: Tensor) -> Tensor:
        return channel.distance(trial(tiny_client, latent, update), update.values)

    assert spread(ours) > 1e-3
    latent = torch.zeros(1, 16, requires_grad=True)
    (slope,) = torch.autograd.grad(ours(latent), latent)
    assert torch.isfinite(slope).all()
    assert slope.norm() > 0


@pytest.mark.parametrize("defense", QUANTIZERS, ids=str)
def test_probes_of_both_attackers_vary(defense: Quantize, tiny_client: Client, digits_data: Data) -> None:
    batch = digits_data.private.take(slice(0, 1))
    update = play(tiny_client, batch, rng=derive(0), defense=defense, threat=Threat(labels=True))
    naive = InvertingGradients(iterations=10)
    for attack in (naive, defense.informed(naive)):
        assert attack is not None
        assert torch.tensor(attack.probe(update, derive(1), 8)).std() > 1e-3


def test_it_is_the_client_that_quantizes(update: Update, tiny_client: Client, digits_data: Data) -> None:
    """What is observed has at most 2^8 + 1 values, is not the raw gradient, and its declared size is 8 bits an entry."""
    raw = play(tiny_client, digits_data.private.take(slice(0, 1)), rng=derive(0)).values
    seen = torch.cat([value.reshape(-1) for value in update.values.values()])
    assert len(seen.unique()) <= 2**8 + 1
    assert not any(torch.equal(update.values[name], value) for name, value in raw.items())
    assert all(torch.equal(update.values[k], v) for k, v in uniform(raw, 8, "global").items())
    assert update.wire_bytes == seen.numel() + 8
