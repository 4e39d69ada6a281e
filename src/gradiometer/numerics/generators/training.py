"""What the training of every kind of generator shares: checked pictures, batches, and the card."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from gradiometer.core import BadConfig, BadInput

from .generator import Generator, GeneratorCard, fingerprints

BATCH = 64


def begun(method: str, pictures: Tensor, *, latent: int, width: int, steps: int, seed: int) -> GeneratorCard:
    """The card of a convolutional generator that is about to learn from these pictures.

    Raises:
        BadConfig, BadInput: nothing can be trained with these.
    """
    if steps < 1:
        raise BadConfig(f"a generator is trained for at least 1 step, got {steps}")
    if pictures.ndim != 4 or len(pictures) < 2 or min(pictures.shape[1:]) < 1:
        raise BadInput(
            f"a generator learns from several pictures [n, channels, height, width], got {[*pictures.shape]}"
        )
    if not 0 <= float(pictures.min()) <= float(pictures.max()) <= 1:
        raise BadInput(f"pixels must lie in [0, 1], got {float(pictures.min()):g}..{float(pictures.max()):g}")
    channels, height, breadth = pictures.shape[1:]
    return GeneratorCard(
        architecture="convolutional",
        shape=(channels, height, breadth),
        latent=latent,
        widths=(width,),
        method=method,
        examples=len(pictures),
        steps=steps,
        batch_size=min(BATCH, len(pictures)),
        seed=seed,
    )


def batches(pictures: Tensor, size: int, count: int, rng: torch.Generator) -> Iterator[Tensor]:
    """`count` batches, drawn without replacement within an epoch; what is left of an epoch and fills none is dropped."""
    order = torch.empty(0, dtype=torch.long)
    for _ in range(count):
        if len(order) < size:
            order = torch.randperm(len(pictures), generator=rng)
        part, order = order[:size], order[size:]
        yield pictures[part].float()


def finished(card: GeneratorCard, blocks: nn.Sequential, pictures: Tensor, seconds: float) -> Generator:
    """The generator of what was trained.

    Raises:
        BadInput: training diverged.
    """
    if not all(torch.isfinite(value).all() for value in blocks.state_dict().values()):
        raise BadInput("training the generator diverged", fix="lower lr")
    for parameter in blocks.parameters():
        parameter.grad = None
    prints = fingerprints(pictures).sort().values
    return Generator(card=replace(card, seconds=round(seconds, 1)), blocks=blocks, prints=prints)
