"""Where Matching searches: a space whose points show pictures. The pictures themselves, or what a generator makes them from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from gradiometer.core import Update

from .descent import Descent


@runtime_checkable
class Space(Protocol):
    """The search space of one start. A point is a list of tensors."""

    @property
    def first(self) -> list[Tensor]:
        """The point where the search begins."""
        ...

    def show(self, point: Sequence[Tensor]) -> Tensor:
        """The pictures of a point, as the model takes them [n, *shape]; differentiable."""
        ...

    def project(self, point: Sequence[Tensor]) -> list[Tensor]:
        """The nearest legal point."""
        ...

    def latent(self, point: Sequence[Tensor]) -> Tensor | None:
        """The part of a point that is a generator's latent vector [n, entries], for priors; None where there is none."""
        ...


Enter = Callable[[list[Tensor] | None, torch.Generator], Space]
"""Makes the space of one start, from the best point of the same start in the stage before (None in the first) and randomness."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """One part of a search.

    Args:
        share: of the attack's evaluations.
        optimizer: in place of the attack's own.
    """

    enter: Enter
    share: float = 1.0
    optimizer: Descent | None = None


@runtime_checkable
class Unknown(Protocol):
    """What is searched for in place of the pictures themselves, as a value."""

    def stages(self, update: Update, like: Tensor) -> tuple[Stage, ...]:
        """The search for this update, one stage after the other; their shares add up to 1.

        Args:
            like: of the type, the device and the shape of the pictures.

        Raises:
            MissingKnowledge, NotApplicable: it cannot show these pictures.
        """
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Pixels:
    """The pictures themselves.

    Args:
        box: lower and upper limits, if they are kept.
    """

    first: list[Tensor]
    box: tuple[Tensor, Tensor] | None

    def show(self, point: Sequence[Tensor]) -> Tensor:
        """See `Space.show`."""
        return point[0]

    def project(self, point: Sequence[Tensor]) -> list[Tensor]:
        """See `Space.project`."""
        return [point[0].clamp(*self.box)] if self.box is not None else [point[0]]

    def latent(self, point: Sequence[Tensor]) -> Tensor | None:
        """See `Space.latent`."""
        return None
