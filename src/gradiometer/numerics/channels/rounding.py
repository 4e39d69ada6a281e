"""Rounding channels: the raw value lies in a known bin, or between two known levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gradiometer.core import Values

from ..quantizers import Scheme, grid_steps, in_buckets, out_of_buckets
from .shared import TINY, cosine_distance, energy, outside, total

HINGE = 10.0
"""Greatest weight of leaving a bin, against the cosine."""

NEAR = 0.02
"""Added to p (1 - p), so that a value right at a level has a finite weight."""


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """Deterministic rounding: q says that the raw value was within half a step, [q - w/2, q + w/2].

    distance = 1 - cos(s, decoded) + c sum relu(|s - q| - w/2)^2 / sum decoded^2, with c the ratio of rounding noise to
    signal, at most 10: on a fine grid the cosine alone is the better guide, on a coarse one the bins say more.
    Gradients gather at zero, so a bin that holds zero is decoded as zero, not as its middle: this removes the common
    offset that a grid without zero adds. Steps are read off the extremes of what was sent, which are levels.

    Args:
        bits, scheme: the defense's.
    """

    bits: int
    scheme: Scheme = "global"

    def distance(self, simulated: Values, sent: Values) -> Tensor:
        decoded, steps = self.decode(sent), self._steps(sent)
        slack = {k: steps[k] * (0.5 + 1e-4) for k in sent}
        left = total(outside(simulated[k], q - slack[k], q + slack[k]) for k, q in sent.items())
        noise = total((step**2 / 12).expand_as(sent[k]).sum() for k, step in steps.items())
        weight = (noise / energy(decoded)).clamp_max(HINGE)
        return cosine_distance(simulated, decoded) + weight * left / energy(decoded)

    def decode(self, sent: Values) -> dict[str, Tensor]:
        steps = self._steps(sent)
        return {k: torch.where(2 * q.abs() <= steps[k], 0.0, q) for k, q in sent.items()}

    def variance(self, sent: Values) -> dict[str, Tensor]:
        """w^2 / 12, as of a value anywhere in its bin. In the bin about zero most gradients are nearer than that."""
        return {k: (step**2 / 12).expand_as(sent[k]) for k, step in self._steps(sent).items()}

    def forward(self, simulated: Values) -> dict[str, Tensor]:
        return dict(simulated)

    def _steps(self, sent: Values) -> dict[str, Tensor]:
        return grid_steps(sent, self.bits, self.scheme)


@dataclass(frozen=True, kw_only=True)
class RandomRounding:
    """Stochastic rounding to a uniform grid: a raw value r was sent as a neighboring level q with probability 1 - |r - q| / w.

    The distance is that of `Dithering`. Nothing is decoded: the mean of what is sent is r already, also where zero is no level.

    Args:
        bits, scheme: the defense's.
    """

    bits: int
    scheme: Scheme = "global"

    def distance(self, simulated: Values, sent: Values) -> Tensor:
        return _unlikelihood(simulated, sent, grid_steps(sent, self.bits, self.scheme))

    def decode(self, sent: Values) -> dict[str, Tensor]:
        return dict(sent)

    def variance(self, sent: Values) -> dict[str, Tensor]:
        """The mean of p (1 - p) w^2: w^2 / 6, or w mean|r| where zero is a level and most entries are below the first."""
        steps = grid_steps(sent, self.bits, self.scheme)
        if self.scheme == "global":
            return {k: (step**2 / 6).expand_as(sent[k]) for k, step in steps.items()}
        return {
            k: torch.minimum(step * _mean_size(sent[k], step), step**2 / 6).expand_as(sent[k])
            for k, step in steps.items()
        }

    def forward(self, simulated: Values) -> dict[str, Tensor]:
        return dict(simulated)


def _mean_size(sent: Tensor, step: Tensor) -> Tensor:
    """Mean magnitude over the entries that share a step."""
    return sent.abs().mean() if step.ndim == 0 else sent.abs().mean(tuple(range(1, sent.ndim)), keepdim=True)


@dataclass(frozen=True, kw_only=True)
class Dithering:
    """Stochastic rounding: a raw value r was sent as the level q with probability 1 - |r - q| / w, for |r - q| < w.

    distance = 0.1 (1 - cos(s, q)) + sum v (s - q)^2 / sum v q^2, with v = 1 / ((p (1 - p) + 0.02) w^2) and p = |s - q| / w:
    the squared error over the variance that the sent entry would have, were s the raw value. Steps are read off what was
    sent: a bucket's greatest magnitude is its scale, or for `l2` the least one is the best guess of its step.

    Args:
        levels: between zero and the scale.
        bucket, norm: the defense's.
        clip: entries were cut to so many standard deviations first.
    """

    levels: int
    bucket: int | None = None
    norm: Literal["l2", "max"] = "max"
    clip: float | None = None

    def distance(self, simulated: Values, sent: Values) -> Tensor:
        return _unlikelihood(self.forward(simulated), sent, self._steps(sent))

    def decode(self, sent: Values) -> dict[str, Tensor]:
        return dict(sent)

    def variance(self, sent: Values) -> dict[str, Tensor]:
        """The mean of p (1 - p) w^2: at most w mean|r| where most entries are below the first level, else w^2 / 6."""
        return {k: self._spread(q, step) for (k, q), step in zip(sent.items(), self._steps(sent).values())}

    def forward(self, simulated: Values) -> dict[str, Tensor]:
        if self.clip is None:
            return dict(simulated)
        bounds = {k: self.clip * s.detach().std(correction=0) for k, s in simulated.items()}
        return {k: torch.minimum(torch.maximum(s, -bounds[k]), bounds[k]) for k, s in simulated.items()}

    def _steps(self, sent: Values) -> dict[str, Tensor]:
        return {k: self._step(q) for k, q in sent.items()}

    def _step(self, sent: Tensor) -> Tensor:
        """An entry's step, shaped as `sent`; zero in buckets that are all zero."""
        rows = in_buckets(sent, self.bucket).abs()
        peak = rows.amax(1, keepdim=True)
        step = peak / self.levels
        if self.norm == "l2":
            step = torch.where(rows > 0, rows, torch.inf).amin(1, keepdim=True)
            step = torch.where(peak > 0, step, 0.0)
        return out_of_buckets(step.expand_as(rows), sent)

    def _spread(self, sent: Tensor, step: Tensor) -> Tensor:
        rows, steps = in_buckets(sent, self.bucket), in_buckets(step, self.bucket)
        low = steps * rows.abs().mean(1, keepdim=True)
        return out_of_buckets(torch.minimum(low.expand_as(rows), steps**2 / 6), sent)


def _unlikelihood(seen: Values, sent: Values, steps: Values) -> Tensor:
    """Of stochastic rounding, relative, with a little of the cosine, which has a slope everywhere."""
    gaps, sizes = [], []
    for k, step in steps.items():
        trust = _trust(seen[k].detach(), sent[k], step)
        gaps.append((trust * (seen[k] - sent[k]).square()).sum())
        sizes.append((trust * sent[k].square()).sum())
    return 0.1 * cosine_distance(seen, sent) + total(gaps) / total(sizes).clamp_min(TINY)


def _trust(simulated: Tensor, sent: Tensor, step: Tensor) -> Tensor:
    """1 / ((p (1 - p) + NEAR) w^2), p (1 - p) = 1/4 where s could not have been sent as q; 0 where no step is known."""
    far = (simulated - sent).abs() / torch.where(step > 0, step, torch.inf)
    spread = torch.where(far < 1, far * (1 - far), 0.25) + NEAR
    return torch.where(step > 0, 1 / (spread * step.square().clamp_min(TINY)), 0.0)
