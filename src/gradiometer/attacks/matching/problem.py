"""Problem: one update made ready for matching: what is unknown, what it decodes to, and what is minimized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from gradiometer.core import (
    Batch,
    Channel,
    Field,
    NotApplicable,
    Recipe,
    Update,
    clone_model,
    trainable,
)
from gradiometer.numerics.distances import ChannelDistance, Distance
from gradiometer.numerics.engine import Engine, Point, Precision, Slope
from gradiometer.numerics.terms import Inputs, Iterate, Term

from ..sums import refuse_sums
from .spaces import Pixels, Space
from .starts import HeadStart, Start, picture_start


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """Unknown is a point of `space`, which shows pictures, and with `labels` None also one row of logits an example, the last tensor.

    Args:
        engine: the client's simulation, compared with what was sent.
        terms: the priors, prepared.
        labels: [n], or None where they are unknown too.
        like: a tensor of the unknown's shape, dtype and device.
    """

    shown: ClassVar[str] = "x"
    """The name in the batch of what priors look at."""

    update: Update
    engine: Engine
    terms: tuple[Term, ...]
    labels: Tensor | None
    like: Tensor
    boxed: bool
    space: Space | None = None

    @property
    def field(self) -> Field:
        return self.update.layout["x"]

    def pixels(self, kind: Start, rng: torch.Generator, *, again: bool = False, x: Tensor | None = None) -> Pixels:
        """The pictures themselves as unknowns; these, where given, to begin with."""
        x = picture_start(kind, self.update, self.field, like=self.like, again=again, rng=rng, x=x)
        return Pixels(first=[x], box=self.field.bounds(self.like) if self.boxed else None)

    def within(self, space: Space) -> Problem:
        """The same problem, searched in that space."""
        return replace(self, space=space)

    def start(self, rng: torch.Generator) -> list[Tensor]:
        """First unknowns: those of the space, and normal logits where labels are unknown."""
        if self.labels is not None:
            return list(self._space.first)
        logits = torch.randn(self.like.shape[0], classes_of(self.update), generator=rng)
        return [*self._space.first, logits.to(self.like)]

    def decode(self, unknowns: Sequence[Tensor]) -> Batch:
        """The batch that the unknowns stand for; unknown labels are probabilities."""
        point, logits = self.split(unknowns)
        y = logits.softmax(1) if logits is not None else self.labels
        assert y is not None
        return Batch(x=self._space.show(point), y=y)

    def answer(self, unknowns: Sequence[Tensor]) -> dict[str, Tensor]:
        """What to claim: pictures within their limits, in the model's type, and the likeliest label of each."""
        point, logits = self.split(unknowns)
        shown = self.field.clamp(self._space.show(point))
        x = shown.to(next(iter(trainable(self.update.need("model")).values())).dtype)
        y = logits.argmax(1) if logits is not None else self.labels
        assert y is not None
        return {"x": x, "y": y}

    def project(self, unknowns: Sequence[Tensor]) -> list[Tensor]:
        """Unknowns brought back to what is legal in the space."""
        point, logits = self.split(unknowns)
        return [*self._space.project(point), *([] if logits is None else [logits])]

    def split(self, unknowns: Sequence[Tensor]) -> tuple[list[Tensor], Tensor | None]:
        """The point of the space, and the logits of the labels where these are unknown."""
        return (list(unknowns), None) if self.labels is not None else (list(unknowns[:-1]), unknowns[-1])

    @property
    def _space(self) -> Space:
        assert self.space is not None
        return self.space

    def slope(self, unknowns: Sequence[Tensor]) -> Slope:
        """The update around these unknowns, linear."""
        return self.engine.slope(unknowns, self.decode)

    def objective(self, unknowns: Sequence[Tensor], consensus: Tensor | None = None, mixed: bool = False) -> Point:
        """Distance plus priors, with the derivative by every unknown; in mixed precision if that will do and pays."""

        held: list[Tensor] = []

        def decode(leaves: Sequence[Tensor]) -> Batch:
            held[:] = leaves
            return self.decode(leaves)

        def penalty(batch: Batch, inputs: Inputs) -> Tensor:
            latent = self._space.latent(self.split(held)[0])
            at = Iterate(x=batch[self.shown], consensus=consensus, inputs=inputs, latent=latent)
            first, *others = (term.penalty(at) for term in self.terms)
            return sum(others, first)

        return self.engine(unknowns, decode, penalty if self.terms else None, mixed=mixed)


def weighed(problem: Problem, start: HeadStart, rng: torch.Generator, settled: float) -> HeadStart:
    """The start, without its pictures if gray ones have a lower objective; final if its distance is at most this part of gray's."""
    if start.x is None:
        return start
    problem = problem.within(problem.pixels("gray", rng))
    unknowns = problem.start(rng)
    found, gray = (problem.objective([x, *unknowns[1:]]) for x in (start.x.to(unknowns[0]), unknowns[0]))
    if found.distance <= settled * gray.distance:
        return replace(start, exact=True, way=f"{start.way}, settled")
    if found.value <= gray.value:
        return start
    return replace(start, x=None, way=f"{start.way}, but gray is nearer")


def pictures(update: Update, name: str, precision: Precision = "auto") -> Tensor:
    """Zeros of the shape and device of the private pictures, in the type of the model or of this precision's scores.

    Raises:
        NotApplicable: the layout is not that of pictures with at most a label.
    """
    layout = update.layout
    if "x" not in layout or layout["x"].kind != "pixels" or not set(layout) <= {"x", "y"}:
        raise NotApplicable(
            f"{name} reconstructs pictures `x` with labels `y`, and the layout holds {sorted(layout)}",
            fix="choose an attack for this kind of data",
        )
    weights = list(trainable(update.need("model")).values())
    if not weights:
        raise NotApplicable(f"{name} needs a model with trained parameters")
    dtype = weights[0].dtype if precision == "auto" else torch.float64 if precision == "float64" else torch.float32
    return weights[0].new_zeros(update.need("batch_size"), *layout["x"].shape, dtype=dtype)


def classes_of(update: Update) -> int:
    classes = update.layout["y"].classes if "y" in update.layout else None
    if not classes:
        raise NotApplicable("unknown labels can only be optimized where the layout says how many classes there are")
    return classes


def simulated_client(
    update: Update,
    *,
    distance: Distance,
    channel: Channel | None,
    weak: bool,
    watch: frozenset[str],
    seed: int,
    precision: Precision,
    dtype: torch.dtype,
) -> Engine:
    """The engine for this update.

    A weight delta is compared per step and unit of learning rate, as the mean gradient that it stands for; `weak`
    simulates no more than that one gradient. A channel compares what was really sent, in its own units. A sum over clients
    is compared per client, as the mean gradient of all their examples: each is taken to have equally many. Everything is of type `dtype`.

    Raises:
        NotApplicable: a sum over clients that is none over examples.
    """
    recipe: Recipe = update.need("recipe")
    model = clone_model(update.need("model")).to(dtype)
    delta, clients = update.sends == "delta", max(1, update.clients)
    normalizes = recipe.mode == "train" and any(isinstance(module, _BatchNorm) for module in model.modules())
    refuse_sums(update, steps=not weak, statistics=normalizes)
    unit = -update.reach() if delta else 1.0
    if delta and weak:
        recipe = Recipe(sends="gradient", mode=recipe.mode, examples=recipe.examples)
    sent = {name: value / clients for name, value in update.as_gradient().items()}
    scale = 1.0
    if channel is not None:
        sent, scale = dict(update.values), clients * (unit if weak else 1.0)
    elif delta and not weak:
        scale = 1 / unit
    return Engine(
        model=model,
        loss=update.need("loss"),
        recipe=recipe,
        distance=ChannelDistance(channel=channel) if channel is not None else distance,
        sent={name: value.to(dtype) for name, value in sent.items()},
        scale=scale,
        seed=seed,
        watch=watch,
        precision=precision,
    )
