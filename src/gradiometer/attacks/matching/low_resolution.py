"""Small pictures as unknown: fewer numbers than the update tells of, and none that a neighbor does not share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from gradiometer.core import BadConfig, Update

from .spaces import Stage

CONTRAST = 0.1
"""Spread of a first picture around gray, in units of the legal range."""


@dataclass(frozen=True, kw_only=True)
class LowResolution:
    """Pictures with sides shorter by `factor`, which are enlarged before the model sees them; starts are drawn around gray.

    Args:
        factor: at least 1, which leaves the pictures as they are.
        kernel: how they are enlarged.
    """

    factor: float = 2.0
    kernel: Literal["bicubic", "bilinear"] = "bicubic"

    def __post_init__(self) -> None:
        if not self.factor >= 1:
            raise BadConfig(f"factor must be at least 1, got {self.factor}")

    def stages(self, update: Update, like: Tensor) -> tuple[Stage, ...]:
        """See `Unknown.stages`."""
        field, sides = update.layout["x"], tuple(like.shape[2:])
        small = [max(1, round(side / self.factor)) for side in sides]
        low, high = field.bounds(like)

        def enter(before: list[Tensor] | None, rng: torch.Generator) -> LowResolutionSpace:
            drawn = torch.randn(*like.shape[:2], *small, generator=rng).to(like)
            first = (low + high) / 2 + CONTRAST * (high - low) * drawn
            return LowResolutionSpace(first=[first], box=(low, high), sides=sides, kernel=self.kernel)

        return (Stage(enter=enter),)


@dataclass(frozen=True, kw_only=True, eq=False)
class LowResolutionSpace:
    """All small pictures within the limits of pixels.

    Args:
        sides: height and width of the pictures that the model takes.
    """

    first: list[Tensor]
    box: tuple[Tensor, Tensor]
    sides: tuple[int, ...]
    kernel: str

    def show(self, point: Sequence[Tensor]) -> Tensor:
        """See `Space.show`."""
        return F.interpolate(point[0], size=self.sides, mode=self.kernel, align_corners=False)

    def project(self, point: Sequence[Tensor]) -> list[Tensor]:
        """See `Space.project`."""
        return [point[0].clamp(*self.box)]

    def latent(self, point: Sequence[Tensor]) -> Tensor | None:
        """See `Space.latent`."""
        return None
