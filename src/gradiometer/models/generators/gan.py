"""Generative adversarial networks as priors: sharper samples than a VAE's, and less of every picture."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradiometer.core import derive, global_seed, spawn
from gradiometer.numerics.generators import Generator, GeneratorCard
from gradiometer.numerics.generators.decoders import Shape, doublings
from gradiometer.numerics.generators.training import batches, begun, finished

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


def train_dcgan(
    pictures: Tensor,
    *,
    latent: int = 64,
    width: int = 16,
    steps: int = 4000,
    seed: int = 0,
) -> Generator:
    """The non-saturating game: D maximizes log D(x) + log(1 - D(G(z))), G maximizes log D(G(z)). Adam 2e-4 (0.5, 0.999).

    Args: as `train_vae`.

    References:
        Goodfellow et al., "Generative Adversarial Networks", 2014, arXiv:1406.2661.
        Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
        Networks", 2015, arXiv:1511.06434.
    """

    def judged(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(-critic(real)).mean() + F.softplus(critic(fake)).mean()

    card = begun("dcgan", pictures, latent=latent, width=width, steps=steps, seed=seed)
    return _played(card, pictures, judged, lambda score: F.softplus(-score).mean(), lr=2e-4, rounds=1)


def train_wgan_gp(
    pictures: Tensor,
    *,
    latent: int = 64,
    width: int = 16,
    steps: int = 1500,
    seed: int = 0,
) -> Generator:
    """D maximizes D(x) - D(G(z)) - 10 (|dD/du| - 1)^2, u between x and G(z); five steps of D for one of G. Adam 1e-4 (0.5, 0.999).

    Args: as `train_vae`; `steps` of G.

    References:
        Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville, "Improved Training of Wasserstein GANs", 2017, arXiv:1704.00028.
    """
    rng = derive(seed, "between")

    def judged(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        share = torch.rand(len(real), 1, 1, 1, generator=rng)
        between = (share * real + (1 - share) * fake).requires_grad_()
        (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        return critic(fake).mean() - critic(real).mean() + 10 * (slope.flatten(1).norm(dim=1) - 1).square().mean()

    card = begun("wgan_gp", pictures, latent=latent, width=width, steps=steps, seed=seed)
    return _played(card, pictures, judged, lambda score: -score.mean(), lr=1e-4, rounds=5)


def _played(
    card: GeneratorCard,
    pictures: Tensor,
    judged: Loss,
    wished: Callable[[Tensor], Tensor],
    *,
    lr: float,
    rounds: int,
) -> Generator:
    """Plays the game.

    Args:
        judged: what the critic minimizes, of itself, true and made pictures.
        wished: what the generator minimizes, of the critic's scores.
        rounds: steps of the critic for one of the generator.
    """
    rng, began = derive(card.seed, card.method), time.monotonic()
    with global_seed(spawn(rng)), torch.enable_grad():
        blocks, critic = card.build(), _critic(card.shape, card.widths[0])
        of_blocks, of_critic = (torch.optim.Adam(n.parameters(), lr=lr, betas=(0.5, 0.999)) for n in (blocks, critic))
        for count, real in enumerate(batches(pictures, card.batch_size, card.steps * rounds, rng), 1):
            fake = blocks(torch.randn(len(real), card.latent, generator=rng))
            of_critic.zero_grad()
            judged(critic, real, fake.detach()).backward()
            of_critic.step()
            if count % rounds == 0:
                of_blocks.zero_grad()
                wished(critic(fake)).backward()
                of_blocks.step()
    return finished(card, blocks, pictures, time.monotonic() - began)


def _critic(shape: Shape, width: int) -> nn.Sequential:
    """From pictures to one score each. Without batch normalization: the penalty is on the slope at every single picture."""
    parts: list[nn.Module] = []
    channels, sides = shape[0], list(shape[1:])
    for step in range(doublings(shape)):
        wider = width * 2 ** (step + 1)
        parts += [nn.Conv2d(channels, wider, 3, 2, 1), nn.LeakyReLU(0.2)]
        channels, sides = wider, [-(-side // 2) for side in sides]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(channels * math.prod(sides), 1))
