"""Generator: a trained map from a latent vector to a picture, with a card that says where it comes from."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from gradiometer.core import BadConfig, Field

from .decoders import Shape, convolutional, perceptron
from .sampler import Diffusion


@dataclass(frozen=True, kw_only=True)
class GeneratorCard:
    """What a generator is, and what it was trained on.

    Args:
        architecture: `convolutional`, `perceptron` or `diffusion`; with `widths`, all that is needed to build it anew.
        shape: of its pictures, [channels, height, width].
        latent: entries of the latent vector, drawn from N(0, 1).
        widths: of a convolutional one the channels at the finest grid, of a perceptron the hidden layers, of a diffusion model half of its finest.
        output: its last nonlinearity.
        method: how it was trained: `vae`, `dcgan`, `wgan_gp` or `diffusion`; or as its file's publisher says.
        data, split, license: what it was trained on.
        examples, steps, batch_size, seed, seconds: of the training.
    """

    architecture: Literal["convolutional", "perceptron", "diffusion"]
    shape: Shape
    latent: int
    widths: tuple[int, ...]
    output: Literal["sigmoid", "tanh"] = "sigmoid"
    method: str = ""
    data: str = ""
    split: str = ""
    license: str = ""
    examples: int = 0
    steps: int = 0
    batch_size: int = 0
    seed: int = 0
    seconds: float = 0.0

    def build(self) -> nn.Sequential:
        """The blocks, with weights that mean nothing yet.

        Raises:
            BadConfig: sizes that fit nothing.
        """
        sizes = (*self.shape, self.latent, *self.widths)
        if len(self.shape) != 3 or min(sizes) < 1 or not self.widths or max(sizes) > 2**16:
            raise BadConfig(f"no generator has pictures {self.shape}, latent size {self.latent}, widths {self.widths}")
        if self.architecture == "diffusion":
            if self.latent != math.prod(self.shape):
                raise BadConfig(
                    f"the latent vector of a diffusion model of {self.shape} has as many entries, not {self.latent}"
                )
            return nn.Sequential(Diffusion(self.shape, self.widths[0]))
        if self.architecture == "perceptron":
            return perceptron(self.shape, widths=(self.latent, *self.widths), output=self.output)
        return convolutional(self.shape, latent=self.latent, width=self.widths[0])


@dataclass(frozen=True, kw_only=True, eq=False)
class Generator:
    """G(z): pictures [n, *shape] with pixels in [0,1] from latent vectors z [n, latent].

    Args:
        blocks: in eval mode, not trained any further; G is their composition.
        prints: `fingerprints` of the pictures that it was trained on, sorted; None where nobody knows them.
    """

    card: GeneratorCard
    blocks: nn.Sequential
    prints: Tensor | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.blocks.eval().requires_grad_(False)

    def __call__(self, z: Tensor) -> Tensor:
        pictures: Tensor = self.blocks(z)
        return pictures

    def like(self, other: Tensor) -> Generator:
        """The same generator in the type and on the device of `other`."""
        return Generator(card=self.card, blocks=copy.deepcopy(self.blocks).to(other), prints=self.prints)

    def draw(self, n: int, rng: torch.Generator) -> Tensor:
        """n latent vectors from N(0, 1)."""
        like = next(self.blocks.parameters())
        return torch.randn(n, self.card.latent, generator=rng).to(like)

    def saw(self, pictures: Tensor) -> Tensor:
        """Whether each of these pictures (pixels in [0,1]) was among those that it was trained on, [n]."""
        if self.prints is None:
            return torch.zeros(len(pictures), dtype=torch.bool)
        return torch.isin(fingerprints(pictures), self.prints)


def fingerprints(pictures: Tensor) -> Tensor:
    """A number for each picture, of its pixels in 256 levels: equal pictures have equal ones, others almost never.

    Args:
        pictures: [n, channels, height, width] in [0,1].

    Returns:
        int64 [n]: the first eight bytes of SHA-256. They do not show the pictures, but tell who has one whether it is there.
    """
    levels = (pictures.detach().cpu() * 255).round().clamp(0, 255).to(torch.uint8).contiguous().numpy()
    digests: Iterable[bytes] = (hashlib.sha256(one.tobytes()).digest()[:8] for one in levels)
    return torch.tensor([int.from_bytes(digest, "little", signed=True) for digest in digests], dtype=torch.int64)


def as_pixels(x: Tensor, field: Field) -> Tensor:
    """Pictures as a model takes them, in natural units within their limits."""
    return field.denormalize(x).clamp(field.low, field.high)
