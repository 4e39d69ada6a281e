"""The latent vector of a generator as unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.core import Field, Update
from gradiometer.numerics.generators import Generator

from .prior import generator_for
from .spaces import Stage


@dataclass(frozen=True, kw_only=True)
class Latent:
    """z, and with it G(z); starts are drawn from N(0, 1).

    Args:
        generator: a file that `gradiometer prior train` wrote, or `public`: a small decoder is then trained on the public data that the
            threat grants.
    """

    generator: str = "public"

    def stages(self, update: Update, like: Tensor) -> tuple[Stage, ...]:
        """See `Unknown.stages`."""
        generator, field = generator_for(self.generator, update, like), update.layout["x"]

        def enter(before: list[Tensor] | None, rng: torch.Generator) -> LatentSpace:
            return LatentSpace(generator=generator, field=field, first=[generator.draw(len(like), rng)])

        return (Stage(enter=enter),)


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentSpace:
    """All z."""

    generator: Generator
    field: Field
    first: list[Tensor]

    def show(self, point: Sequence[Tensor]) -> Tensor:
        """See `Space.show`."""
        return self.field.normalize(self.generator(point[0]))

    def project(self, point: Sequence[Tensor]) -> list[Tensor]:
        """See `Space.project`."""
        return list(point)

    def latent(self, point: Sequence[Tensor]) -> Tensor | None:
        """See `Space.latent`."""
        return point[0]
