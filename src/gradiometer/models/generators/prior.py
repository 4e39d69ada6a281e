"""train_prior: a generator from the public side of the wall."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch

from gradiometer.core import BadConfig, Data, Unsupported, derive
from gradiometer.numerics.generators import Generator, train_diffusion, train_vae
from gradiometer.numerics.generators.generator import as_pixels

from .gan import train_dcgan, train_wgan_gp

METHODS: dict[str, Callable[..., Generator]] = {
    "vae": train_vae,
    "dcgan": train_dcgan,
    "wgan_gp": train_wgan_gp,
    "diffusion": train_diffusion,
}


def train_prior(
    data: Data,
    *,
    method: Literal["vae", "dcgan", "wgan_gp", "diffusion"] = "vae",
    latent: int = 64,
    width: int = 16,
    steps: int = 2000,
    limit: int | None = None,
    seed: int = 0,
) -> Generator:
    """A generator of the public pictures of `data`. The private ones are not looked at.

    Args:
        latent, width, steps: see `train_vae`; the latent vector of a diffusion model has an entry for every pixel, whatever `latent` says.
        limit: learn from so many pictures only, drawn by `seed`.

    Raises:
        Unsupported: there are no public pictures.
        BadConfig: a limit below 2.
    """
    field = data.layout.get("x")
    if data.public is None or field is None or field.kind != "pixels":
        raise Unsupported(
            "a prior is trained on public pictures, and these data have none",
            fix="raise public_share, or choose others",
        )
    if limit is not None and limit < 2:
        raise BadConfig(f"a prior learns from at least 2 pictures, got limit {limit}")
    order = torch.randperm(data.public.size, generator=derive(seed, "prior"))[:limit]
    pictures = as_pixels(data.public["x"][order], field)
    sizes = {"width": width} if method == "diffusion" else {"width": width, "latent": latent}
    made = METHODS[method](pictures, **sizes, steps=steps, seed=seed)
    return replace(made, card=replace(made.card, data=data.card.name, split="public", license=data.card.license))
