"""A generator's features as unknowns, block by block: each within a ball around what the earlier blocks found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradiometer.core import BadConfig, Field, NotApplicable, Update

from .descent import Adam, Descent
from .latent import Latent
from .prior import generator_for
from .spaces import Stage


@dataclass(frozen=True, kw_only=True)
class Features:
    """First z, then what lies between the first and the second block, and so on to the last: h_l within an L1 ball.

    Args:
        generator: as in `Latent`.
        share: of the evaluations for z; the rest is divided evenly.
        radius: of the ball around h_l, in units of its own L1 norm.
        optimizer: of the features.
    """

    generator: str = "public"
    share: float = 0.5
    radius: float = 0.5
    optimizer: Descent = Adam(lr=0.1, sign="none", schedule="ramp")

    def __post_init__(self) -> None:
        if not 0 < self.share < 1 or not self.radius > 0:
            raise BadConfig(f"share must lie in (0, 1) and radius be positive, got {self.share} and {self.radius}")

    def stages(self, update: Update, like: Tensor) -> tuple[Stage, ...]:
        """See `Unknown.stages`."""
        blocks = generator_for(self.generator, update, like).blocks
        if len(blocks) < 2:
            raise NotApplicable(
                f"the generator {self.generator} has no features between blocks",
                fix="choose Diffused, or another generator",
            )
        (first,) = Latent(generator=self.generator).stages(update, like)
        each = (1 - self.share) / (len(blocks) - 1)

        def stage(number: int) -> Stage:
            def enter(before: list[Tensor] | None, rng: torch.Generator) -> FeatureSpace:
                assert before is not None
                with torch.no_grad():
                    center = blocks[number - 1](before[0])
                reach = self.radius * center.flatten(1).abs().sum(1)
                return FeatureSpace(
                    rest=nn.Sequential(*list(blocks)[number:]), center=center, reach=reach, field=update.layout["x"]
                )

            return Stage(enter=enter, share=each, optimizer=self.optimizer)

        later = tuple(stage(number) for number in range(1, len(blocks)))
        return (Stage(enter=first.enter, share=self.share), *later)


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureSpace:
    """{h: |h - center|_1 <= reach}, for each picture.

    Args:
        rest: the blocks from h to the picture.
        center: [n, ...]. reach: [n].
    """

    rest: nn.Sequential
    center: Tensor
    reach: Tensor
    field: Field

    @property
    def first(self) -> list[Tensor]:
        """See `Space.first`."""
        return [self.center.clone()]

    def show(self, point: Sequence[Tensor]) -> Tensor:
        """See `Space.show`."""
        return self.field.normalize(self.rest(point[0]))

    def project(self, point: Sequence[Tensor]) -> list[Tensor]:
        """See `Space.project`."""
        away = (point[0] - self.center).flatten(1)
        return [self.center + l1_ball(away, self.reach).view_as(self.center)]

    def latent(self, point: Sequence[Tensor]) -> Tensor | None:
        """See `Space.latent`."""
        return None


def l1_ball(x: Tensor, radius: Tensor) -> Tensor:
    """The nearest point with |x|_1 <= radius to each row: sign(x) max(|x| - t, 0), t such that the norm fits.

    Args:
        x: [n, entries]. radius: [n], positive.

    References:
        Duchi, Shalev-Shwartz, Singer, Chandra, "Efficient Projections onto the l1-Ball for Learning in High Dimensions", 2008.
    """
    size = x.abs()
    inside = size.sum(1) <= radius
    if bool(inside.all()):
        return x
    ordered = size.sort(1, descending=True).values
    ranks = torch.arange(1, x.shape[1] + 1, device=x.device, dtype=x.dtype)
    over = (ordered.cumsum(1) - radius[:, None]) / ranks
    last = (ordered > over).sum(1, keepdim=True).clamp_min(1) - 1
    return torch.where(inside[:, None], x, x.sign() * (size - over.gather(1, last)).clamp_min(0))
