"""RidgeInversion: a linear map from what was sent to the picture, learned from public examples behind the same defense."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gradiometer.core import Attack, BadConfig, Card, Defense, Guess, NotApplicable, Update, Values, derive
from gradiometer.numerics.ridge import Ridge, RidgePath, wiener

from .lessons import Lessons, lessons
from .memo import remembered
from .readings import Readings, readings

CHUNK = 32
"""Messages that are read at a time."""
NOTHING = Ridge(weights=torch.zeros(0), strength=math.inf, decibels=-math.inf)


Base = Literal["mean", "reading", "filtered reading"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearMap:
    """Features of a message to a picture: x = base + (f - center) / scale W.

    Args:
        center, scale: [features] of the lessons' features, one scale a block.
        found: the regression of what is missing of the base.
        base: what the regression corrects: the mean picture, or what the first layer shows, as it is or filtered.
        filter, offset: the base is reading @ filter + offset; without a filter, the reading (if it counts) + offset.
    """

    center: Tensor
    scale: Tensor
    found: Ridge
    base: Base
    filter: Tensor | None
    offset: Tensor

    @property
    def nbytes(self) -> int:
        """Of its weights."""
        return self.found.weights.nbytes + (0 if self.filter is None else self.filter.nbytes)

    def picture(self, reader: Readings, sent: Values) -> Tensor:
        """Pixels [1, *shape] in the legal range."""
        blocks, reading = reader.features([sent])
        features = _extended((torch.cat(blocks, 1) - self.center) / self.scale)
        pixels = self.based(reading) + features @ self.found.weights.double()
        return pixels.reshape(1, *reader.field.shape).clamp(reader.field.low, reader.field.high)

    def based(self, reading: Tensor | None) -> Tensor:
        """The base [n, pixels]."""
        if self.base == "mean" or reading is None:
            return self.offset[None]
        return self.offset + (reading if self.filter is None else reading @ self.filter.double())


@dataclass(frozen=True, kw_only=True)
class RidgeInversion(Attack):
    """Plays rounds with public examples, and regresses their pictures on what was sent.

    Features are what closed forms read: of every biased linear layer its input and the derivative by its output, from a
    rank-one fit that knows the defense's channel; and a sketch of all entries. Where the first layer sees the picture
    itself, the regression corrects what stands there, as it is or after Wiener's filter, which knows what public pictures
    look like and how far readings are off. The base that is corrected and the strength of the ridge are chosen on public
    examples that neither has seen. The informed attacker's rounds are defended;
    the map serves all updates of the same model, and is learned once. Batches of one.

    Args:
        examples: public examples to learn from, at most; one in five is held out.
        sketch: buckets of the count sketch.
        seed: of the attacker's own simulation; the guess depends on nothing else that is random.
        defense: what the simulated clients use; `None`: nothing.

    Returns (in `Guess`):
        x: [1, *shape]; notes: `base` that is corrected, `strength` of the ridge, `held_out` PSNR in dB on public examples.
    """

    card: ClassVar[Card] = Card(
        summary="Learns a linear map from defended updates of public examples to their pictures.",
        modality="image",
        family="learned",
        formula="W = (F'F + s I)^-1 F' X over public examples, x = f(sent) W, s chosen on held-out public examples",
        needs=("model", "loss", "recipe", "batch_size", "public"),
    )
    examples: int = 2000
    sketch: int = 1024
    seed: int = 0
    defense: Defense | None = None

    def __post_init__(self) -> None:
        problems = [f"examples must be at least 10, got {self.examples}"] if self.examples < 10 else []
        problems += [f"sketch must be at least 1, got {self.sketch}"] if self.sketch < 1 else []
        if problems:
            raise BadConfig("RidgeInversion cannot be set up", problems=problems)

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        school = lessons(update, self.defense, self.examples, self.seed, "RidgeInversion")
        if update.batch_size != 1:
            raise NotApplicable(
                f"RidgeInversion reads batches of one, and this is of {update.batch_size}", fix="try LearningToInvert"
            )
        channel = None if self.defense is None else self.defense.channel()
        reader = readings(update, channel, self.sketch, derive(self.seed, "sketch"))
        known = remembered(school.print(self), lambda: _learned(school, reader))
        if known.base == "mean" and math.isinf(known.found.strength):
            raise NotApplicable(
                f"RidgeInversion learned nothing of {len(school.rows)} public rounds: their mean picture is nearer than any map's"
            )
        pixels = known.picture(reader, update.values)
        dtype = next(iter(update.values.values())).dtype
        notes = {
            "strength": known.found.strength,
            "held_out": known.found.decibels,
            "examples": len(school.rows),
            "base": known.base,
        }
        return Guess(tensors={"x": update.layout["x"].normalize(pixels).to(dtype)}, notes=notes)

    def simulating(self, defense: Defense) -> Attack:
        return replace(self, defense=defense)


def _learned(school: Lessons, reader: Readings) -> LinearMap:
    rows, truths, readings, played = [], [], [], school.played()
    while part := list(islice(played, CHUNK)):
        blocks, reading = reader.features([sent for sent, _ in part])
        sizes = [block.shape[1] for block in blocks]
        rows.append(torch.cat(blocks, 1))
        truths += [pictures.flatten().double() for _, pictures in part]
        readings += [] if reading is None else [reading]
    features, truth, first = torch.cat(rows), torch.stack(truths), school.fitted
    center = features[:first].mean(0)
    spread = (features[:first] - center).square().mean(0)
    # One scale a block: a block's own proportions say which of its entries vary and which are rounding.
    scale = torch.cat([part.mean().sqrt().clamp_min(1e-12).expand(len(part)) for part in spread.split(sizes)])
    features = _extended((features - center) / scale)
    path, reading = RidgePath(features[:first], features[first:]), torch.cat(readings) if readings else None
    tried = []
    for base, filter, offset in _bases(school, truth[:first], None if reading is None else reading[:first]):
        known = LinearMap(center=center, scale=scale, found=NOTHING, base=base, filter=filter, offset=offset)
        missing = truth - known.based(reading)
        found = path.fit(missing[:first], missing[first:])
        tried.append(replace(known, found=replace(found, weights=found.weights.float())))
    return max(tried, key=lambda known: known.found.decibels)


def _bases(school: Lessons, truth: Tensor, reading: Tensor | None) -> Iterator[tuple[Base, Tensor | None, Tensor]]:
    """What a regression may start from, with filter and offset; learned from examples that are not held out."""
    yield "mean", None, truth.mean(0)
    if reading is None:
        return
    yield "reading", None, torch.zeros_like(truth[0])
    others = torch.ones(school.public.size, dtype=torch.bool)
    others[school.rows[school.fitted :].flatten()] = False
    clean = school.field.denormalize(school.public["x"][others]).flatten(1).double()
    filter, offset = wiener(clean, reading - truth)
    yield "filtered reading", filter.float(), offset


def _extended(features: Tensor) -> Tensor:
    """With a constant, whose weight is shrunk like the others."""
    return torch.cat([features, features.new_ones(len(features), 1)], 1)
