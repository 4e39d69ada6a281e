"""Blind baselines: what somebody shows who never saw the update. Leakage is only what lies above them."""

from __future__ import annotations

import torch
from torch import Tensor

from gradiometer.core import Batch, Data, Field

from .image import pixels

CHUNK = 4096
ORACLE = "nearest_public"
"""The one baseline that nobody can run, for it is chosen with the truth: it counts for likeness, not for identification."""


def blind_pictures(truth: Batch, data: Data, *, rng: torch.Generator) -> dict[str, Tensor]:
    """Guesses without an update, one an example, as pixels in [0,1], [n, channels, height, width].

    - `gray`: every pixel 1/2;
    - `mean`: the mean public example;
    - `class_mean`: the mean public example of the true class (labels are easily recovered, so they are granted here);
      of all classes where the class has no public example;
    - `random_public`: one public example, drawn by `rng`;
    - `nearest_public`: the public example nearest to the truth. It is chosen WITH the truth: it bounds from above what
      picking from a public collection could ever show.

    Without public data only `gray` is left.
    """
    field = data.layout["x"]
    real = pixels(truth["x"], field)
    blind = {"gray": torch.full_like(real, 0.5)}
    if data.public is None:
        return blind
    public = data.public["x"]
    mean = _mean(public, field)
    blind["mean"] = mean.expand_as(real)
    if "y" in truth and "y" in data.public:
        means = {}
        for label in truth["y"].unique().tolist():
            members = data.public["y"] == label
            means[label] = _mean(public[members], field) if members.any() else mean
        blind["class_mean"] = torch.stack([means[label] for label in truth["y"].tolist()])
    drawn = torch.randint(len(public), (len(real),), generator=rng)
    blind["random_public"] = pixels(public[drawn], field)
    blind[ORACLE] = pixels(public[_nearest(real, public, field)], field)
    return blind


def _mean(pictures: Tensor, field: Field) -> Tensor:
    return torch.stack([pixels(part, field).sum(0) for part in pictures.split(CHUNK)]).sum(0) / len(pictures)


def _nearest(real: Tensor, public: Tensor, field: Field) -> Tensor:
    """Index of the public picture nearest to every real one. In parts: public collections can be large."""
    best = torch.full((len(real),), float("inf"), dtype=real.dtype)
    index = torch.zeros(len(real), dtype=torch.long)
    for first, part in zip(range(0, len(public), CHUNK), public.split(CHUNK)):
        distance, at = torch.cdist(real.flatten(1), pixels(part, field).flatten(1)).min(1)
        index = torch.where(distance < best, first + at, index)
        best = torch.minimum(distance, best)
    return index
