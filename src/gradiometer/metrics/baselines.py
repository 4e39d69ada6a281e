"""Blind baselines: what somebody shows who never saw the update. Leakage is only what lies above them."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from gradiometer.core import Batch, Data
from gradiometer.numerics.generators import Generator, inverted

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
    known, public = _known(data), data.public["x"]
    blind["mean"] = known.mean.expand_as(real)
    if "y" in truth and known.class_means:
        blind["class_mean"] = torch.stack([known.class_means.get(y, known.mean) for y in truth["y"].tolist()])
    drawn = torch.randint(len(public), (len(real),), generator=rng)
    blind["random_public"] = pixels(public[drawn], field)
    # |a - b|² = |a|² - 2 a'b + |b|², in pixel units, without a copy of the public collection.
    product = (truth["x"].detach().to(public) * known.scale**2).flatten(1) @ public.flatten(1).T
    blind[ORACLE] = pixels(public[(known.squares - 2 * product).argmin(1)], field)
    return blind


def oracle_inversion(truth: Batch, data: Data, generator: Generator, *, rng: torch.Generator) -> Tensor:
    """The nearest pictures that a generator can show, found WITH the truth, as pixels in [0,1], [n, channels, height, width].

    An attack that searches in its latent space cannot show better ones. It is no baseline to beat: it says how much there was to win.
    """
    return inverted(generator, pixels(truth["x"], data.layout["x"]), rng=rng)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Known:
    """What is worked out once of public data.

    Args:
        mean, class_means: as pixels in [0,1].
        scale: how many pixel units one unit of the model's input is, a channel.
        squares: squared norm [n] of every example, times scale.
    """

    mean: Tensor
    class_means: dict[int, Tensor]
    scale: Tensor
    squares: Tensor


_MEMO: WeakKeyDictionary[Data, _Known] = WeakKeyDictionary()


def _known(data: Data) -> _Known:
    if data not in _MEMO:
        _MEMO[data] = _summarize(data)
    return _MEMO[data]


def _summarize(data: Data) -> _Known:
    assert data.public is not None
    field, public = data.layout["x"], data.public["x"]
    labels = data.public["y"] if "y" in data.public else torch.zeros(len(public), dtype=torch.long)
    sums = torch.zeros(int(labels.max()) + 1, *field.shape, dtype=torch.float64)
    scale = field.denormalize(torch.ones_like(public[:1])) - field.denormalize(torch.zeros_like(public[:1]))
    squares = []
    for part, members in zip(public.split(CHUNK), labels.split(CHUNK)):
        sums.index_add_(0, members, part.double())
        squares.append((part * scale).flatten(1).square().sum(1))
    counts = torch.bincount(labels)
    means = {int(y): pixels(sums[y : y + 1] / counts[y], field)[0] for y in counts.nonzero().flatten()}
    mean = pixels(sums.sum(0, keepdim=True) / len(public), field)[0]
    class_means = means if "y" in data.public else {}
    return _Known(mean=mean, class_means=class_means, scale=scale, squares=torch.cat(squares))
