"""A noisy picture as unknown, level by level: what a diffusion model sees behind it is pulled toward the update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.core import BadConfig, Field, NotApplicable, Update
from gradiometer.numerics.generators import Diffusion, diffusion_of

from .descent import Adam
from .prior import PUBLIC_DIFFUSION, generator_for
from .spaces import Stage


@dataclass(frozen=True, kw_only=True)
class Diffused:
    """x_s, and with it D(x_s, s), the picture behind it. From one level s to the next, x_t = D + t (sqrt(1 - f^2) e + f n), e the noise beside D.

    At every level x_s is descended by the gradient through D, in steps that fall with the level: what the update does not tell is left
    to the model, and late levels change no more than their noise hides.

    Args:
        generator: a diffusion model's file that `gradiometer prior train --method diffusion` wrote, or `public diffusion`: a small
            one is then trained on the public data that the threat grants.
        levels: of noise; the evaluations are divided evenly, and at least one each.
        highest: level, in units of the pictures' standard deviation.
        pull: step of Adam at a level, in units of that level.
        fresh: f, the part of the noise that is drawn anew.

    References:
        Chung, Kim, McCann, Klasky, Ye, "Diffusion Posterior Sampling for General Noisy Inverse Problems", 2022, arXiv:2209.14687.
    """

    generator: str = PUBLIC_DIFFUSION
    levels: int = 20
    highest: float = 10.0
    pull: float = 0.2
    fresh: float = 0.0

    def __post_init__(self) -> None:
        problems = []
        if self.levels < 1:
            problems.append(f"levels must be at least 1, got {self.levels}")
        if not (self.highest > 0 and self.pull > 0):
            problems.append(f"highest and pull must be positive, got {self.highest} and {self.pull}")
        if not 0 <= self.fresh <= 1:
            problems.append(f"fresh must lie in [0, 1], got {self.fresh}")
        if problems:
            raise BadConfig("Diffused cannot be set up", problems=problems)

    def stages(self, update: Update, like: Tensor) -> tuple[Stage, ...]:
        """See `Unknown.stages`."""
        model = diffusion_of(generator_for(self.generator, update, like).blocks)
        if model is None:
            raise NotApplicable(
                f"the generator {self.generator} is no diffusion model",
                fix="train one with `gradiometer prior train --method diffusion`",
            )
        levels = model.levels(self.levels, self.highest)
        return tuple(self._stage(model, levels, number, update.layout["x"], like) for number in range(self.levels))

    def _stage(self, model: Diffusion, levels: list[float], number: int, field: Field, like: Tensor) -> Stage:
        level = levels[number]

        def enter(before: list[Tensor] | None, rng: torch.Generator) -> NoisySpace:
            noise = torch.randn(like.shape, generator=rng).to(like)
            if before is None:
                return NoisySpace(model=model, level=level, first=[level * noise], field=field)
            above = levels[number - 1]
            with torch.no_grad():
                clean = model.clean(before[0], above)
            seen = (before[0] - clean) / above
            kept = (1 - self.fresh**2) ** 0.5 * seen + self.fresh * noise
            return NoisySpace(model=model, level=level, first=[clean + level * kept], field=field)

        optimizer = Adam(lr=self.pull * level, sign="none", schedule="constant")
        return Stage(enter=enter, share=1 / self.levels, optimizer=optimizer)


@dataclass(frozen=True, kw_only=True, eq=False)
class NoisySpace:
    """All pictures with noise of one level.

    Args:
        level: of the noise, in units of the pictures' standard deviation.
    """

    model: Diffusion
    level: float
    first: list[Tensor]
    field: Field

    def show(self, point: Sequence[Tensor]) -> Tensor:
        """See `Space.show`."""
        return self.field.normalize(self.model.pixels(self.model.clean(point[0], self.level)))

    def project(self, point: Sequence[Tensor]) -> list[Tensor]:
        """See `Space.project`."""
        return list(point)

    def latent(self, point: Sequence[Tensor]) -> Tensor | None:
        """See `Space.latent`."""
        return None
