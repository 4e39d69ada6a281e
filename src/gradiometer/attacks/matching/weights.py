"""A generator's weights as unknowns: after its latent vector, or instead of any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gradiometer.core import BadConfig, Field, NotApplicable, Recipe, Update, global_seed, spawn
from gradiometer.numerics.engine import smoothness
from gradiometer.numerics.generators import convolutional

from .descent import Adam, Descent
from .latent import Latent
from .prior import generator_for
from .spaces import Stage


@dataclass(frozen=True, kw_only=True)
class LatentThenWeights:
    """First z, then with that z the weights of a generator of this update's own.

    Args:
        generator: as in `Latent`.
        share: of the evaluations for z.
        optimizer: of the weights.
    """

    generator: str = "public"
    share: float = 0.5
    optimizer: Descent = Adam(lr=1e-3, sign="none", schedule="ramp")

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise BadConfig(f"share must lie in (0, 1), got {self.share}")

    def stages(self, update: Update, like: Tensor) -> tuple[Stage, ...]:
        """See `Unknown.stages`."""
        generator = generator_for(self.generator, update, like)
        (first,) = Latent(generator=self.generator).stages(update, like)

        def enter(before: list[Tensor] | None, rng: torch.Generator) -> WeightSpace:
            assert before is not None
            return WeightSpace(blocks=generator.blocks, z=before[0], field=update.layout["x"])

        return (
            Stage(enter=first.enter, share=self.share),
            Stage(enter=enter, share=1 - self.share, optimizer=self.optimizer),
        )


@dataclass(frozen=True, kw_only=True)
class Untrained:
    """The weights of a decoder that nobody trained, at a latent vector that stays: what it shows easily is smooth.

    Args:
        latent, width: of the decoder, see `numerics.generators.convolutional`.
        kinked: also try networks with ReLU, where this search is known to fail.
    """

    latent: int = 128
    width: int = 16
    kinked: bool = False

    def stages(self, update: Update, like: Tensor) -> tuple[Stage, ...]:
        """See `Unknown.stages`."""
        recipe: Recipe = update.need("recipe")
        if not self.kinked and smoothness(update.need("model"), recipe.mode, like) == "kinked":
            raise NotApplicable(
                "an untrained decoder finds pictures behind smooth activations only, and this model has ReLU or max pooling",
                fix="choose GGL or InvertingGradients, or set kinked = true to see it fail",
            )
        channels, height, width = update.layout["x"].shape

        def enter(before: list[Tensor] | None, rng: torch.Generator) -> WeightSpace:
            with global_seed(spawn(rng)):
                blocks = convolutional((channels, height, width), latent=self.latent, width=self.width)
            for module in blocks.modules():
                if isinstance(module, nn.BatchNorm2d):  # by the statistics of the one batch that there is
                    module.track_running_stats, module.running_mean, module.running_var = False, None, None
            z = torch.randn(len(like), self.latent, generator=rng).to(like)
            return WeightSpace(blocks=blocks.to(like).requires_grad_(False), z=z, field=update.layout["x"])

        return (Stage(enter=enter),)


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightSpace:
    """All weights of a decoder, at one latent vector."""

    blocks: nn.Sequential
    z: Tensor
    field: Field

    @property
    def first(self) -> list[Tensor]:
        """See `Space.first`."""
        return [value.detach().clone() for value in self.blocks.parameters()]

    def show(self, point: Sequence[Tensor]) -> Tensor:
        """See `Space.show`."""
        names = [name for name, _ in self.blocks.named_parameters()]
        shown: Tensor = functional_call(self.blocks, dict(zip(names, point)), (self.z,))
        return self.field.normalize(shown)

    def project(self, point: Sequence[Tensor]) -> list[Tensor]:
        """See `Space.project`."""
        return list(point)

    def latent(self, point: Sequence[Tensor]) -> Tensor | None:
        """See `Space.latent`."""
        return None
