"""Oracle inversion: what a generator can show of a picture to somebody who already has it. No attack: an upper bound."""

from __future__ import annotations

import torch
from torch import Tensor

from .generator import Generator
from .sampler import diffusion_of

SIGHT = 256
"""Pixels over variance of the noise under which a diffusion model is asked what it sees: some 100 bits of the truth, whatever its size, from
which a filter that does not know such pictures makes little."""


def inverted(
    generator: Generator, pictures: Tensor, *, rng: torch.Generator, steps: int = 300, starts: int = 4
) -> Tensor:
    """The nearest pictures of the generator, by Adam on z from the best of a few draws: min_z |G(z) - x|^2.

    Of a diffusion model, which shows every picture somewhere: what it sees behind the truth under much noise.

    Args:
        pictures: truths [n, channels, height, width] in [0,1].
        starts: draws of z a picture; the nearest is descended.

    Returns:
        [n, channels, height, width]; the best of every picture's path.
    """
    n = len(pictures)
    model = diffusion_of(generator.blocks)
    if model is not None:
        truth = model.scaled(pictures.detach().to(model.mean))
        noise, level = torch.randn(truth.shape, generator=rng).to(truth), (truth[0].numel() / SIGHT) ** 0.5
        with torch.no_grad():
            return model.pixels(model.clean(truth + level * noise, level)).clamp(0, 1).to(pictures)
    drawn = generator.draw(n * starts, rng)
    truth = pictures.detach().to(drawn)

    def errors(found: Tensor, real: Tensor) -> Tensor:
        return (found - real).square().flatten(1).mean(1)

    with torch.no_grad():
        far = errors(generator(drawn), truth.repeat_interleave(starts, 0)).view(n, starts)
    z = drawn.view(n, starts, -1)[torch.arange(n), far.argmin(1)].clone().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, least = torch.zeros_like(truth), far.min(1).values + 1
    with torch.enable_grad():
        for _ in range(steps):
            found = generator(z)
            error = errors(found, truth)
            closer = error.detach() < least
            best[closer], least[closer] = found.detach()[closer], error.detach()[closer]
            optimizer.zero_grad()
            error.sum().backward()
            optimizer.step()
            schedule.step()
    return best.to(pictures)
