"""Oracle inversion: what a generator can show of a picture to somebody who already has it. No attack: an upper bound."""

from __future__ import annotations

import torch
from torch import Tensor

from .generator import Generator


def inverted(
    generator: Generator, pictures: Tensor, *, rng: torch.Generator, steps: int = 300, starts: int = 4
) -> Tensor:
    """The nearest pictures of the generator, by Adam on z from the best of a few draws: min_z |G(z) - x|^2.

    Args:
        pictures: truths [n, channels, height, width] in [0,1].
        starts: draws of z a picture; the nearest is descended.

    Returns:
        [n, channels, height, width]; the best of every picture's path.
    """
    n = len(pictures)
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
