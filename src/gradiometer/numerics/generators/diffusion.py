"""A small diffusion model as prior: it knows more of pictures than a decoder of its size, and is slower to ask."""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor, nn

from gradiometer.core import derive, global_seed, spawn

from .generator import Generator
from .sampler import diffusion_of
from .training import batches, begun, finished

MIDDLE, SPREAD = -0.5, 1.2
"""Mean and deviation of the logarithm of the levels of noise that are trained on."""


def train_diffusion(
    pictures: Tensor,
    *,
    width: int = 16,
    steps: int = 2000,
    lr: float = 2e-3,
    seed: int = 0,
) -> Generator:
    """Minimizes (1 + 1 / s^2) |D(x + s e, s) - x|^2, e normal and log s normal.

    Args: as `train_vae`; z has an entry for every pixel.

    Returns:
        The sampler, whose one block is a `Diffusion`.

    Raises:
        BadConfig, BadInput: settings or pictures that nothing can be trained with.
    """
    card = begun("diffusion", pictures, latent=pictures[0].numel(), width=width, steps=steps, seed=seed)
    card = replace(card, architecture="diffusion")
    rng, began = derive(seed, "diffusion"), time.monotonic()
    with global_seed(spawn(rng)), torch.enable_grad():
        blocks = card.build()
        model = diffusion_of(blocks)
        assert model is not None
        model.mean.copy_(pictures.float().mean())
        model.std.copy_(pictures.float().std().clamp_min(1e-3))
        optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for batch in batches(pictures, card.batch_size, steps, rng):
            x = model.scaled(batch)
            level = (MIDDLE + SPREAD * torch.randn(len(x), generator=rng)).exp()
            noisy = x + level[:, None, None, None] * torch.randn(x.shape, generator=rng)
            error = (model.clean(noisy, level) - x).square().flatten(1).mean(1)
            optimizer.zero_grad()
            ((1 + level**-2) * error).mean().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return finished(card, blocks, pictures, time.monotonic() - began)
