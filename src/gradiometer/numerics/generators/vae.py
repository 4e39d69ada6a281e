"""The decoder of a variational autoencoder: the prior that trains in minutes and does not collapse."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor, nn

from gradiometer.core import derive, global_seed, spawn

from .decoders import Shape, doublings
from .generator import Generator
from .training import batches, begun, finished


def train_vae(
    pictures: Tensor,
    *,
    latent: int = 64,
    width: int = 16,
    steps: int = 2000,
    lr: float = 2e-3,
    seed: int = 0,
) -> Generator:
    """Minimizes D/2 log(|x - G(z)|^2 / D) + KL(q(z|x) || N(0, 1)) over encoder and decoder; D pixels a picture.

    The logarithm is the likelihood at the best variance of the pixels, so that no weight between the two terms is to be chosen.

    Args:
        pictures: [n, channels, height, width] in [0,1]: public ones.
        latent: entries of z.
        width: channels at the finest grid.
        lr: of Adam at the start; falls to 0 as a cosine.

    Returns:
        The decoder G.

    Raises:
        BadConfig, BadInput: settings or pictures that nothing can be trained with.

    References:
        Kingma, Welling, "Auto-Encoding Variational Bayes", 2013, arXiv:1312.6114.
        Rybkin, Daniilidis, Levine, "Simple and Effective VAE Training with Calibrated Decoders", 2020, arXiv:2006.13202.
    """
    card = begun("vae", pictures, latent=latent, width=width, steps=steps, seed=seed)
    rng, began = derive(seed, "vae"), time.monotonic()
    with global_seed(spawn(rng)), torch.enable_grad():
        decoder, encoder = card.build(), _encoder(card.shape, latent, width)
        parameters = [*decoder.parameters(), *encoder.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for x in batches(pictures, card.batch_size, steps, rng):
            mean, spread = encoder(x).chunk(2, 1)
            spread = spread.clamp(-12, 12)
            z = mean + (spread / 2).exp() * torch.randn(mean.shape, generator=rng)
            error = (decoder(z) - x).square().mean()
            divergence = (mean.square() + spread.exp() - 1 - spread).sum(1).mean() / 2
            loss = x[0].numel() / 2 * error.log() + divergence
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1000.0)
            optimizer.step()
            schedule.step()
    return finished(card, decoder, pictures, time.monotonic() - began)


def _encoder(shape: Shape, latent: int, width: int) -> nn.Sequential:
    """From pictures to means and logarithms of variances, [n, 2 latent]."""
    parts: list[nn.Module] = []
    channels, sides = shape[0], list(shape[1:])
    for step in range(doublings(shape)):
        wider = width * 2 ** (step + 1)
        parts += [nn.Conv2d(channels, wider, 3, 2, 1, bias=False), nn.BatchNorm2d(wider), nn.LeakyReLU(0.2)]
        channels, sides = wider, [-(-side // 2) for side in sides]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(channels * math.prod(sides), 2 * latent))
