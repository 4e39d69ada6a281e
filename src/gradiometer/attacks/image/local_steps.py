"""Several local steps on the same examples: their mean step is the gradient plus a drift, which a guess foretells.

    c g(x) = mean step - drift(x),   drift(x) = mean step simulated for x - c g(x)

is a fixed point for x; the recursion's equations are homogeneous, so that the factor c does not matter. What the drift still moves from one guess to the next is the noise of the next gradient. Near the
end even the rounding of the client's weights repeats itself in the simulation, so that it leaves the gradient again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gradiometer.core import Batch, NotApplicable, Recipe, Update, simulate
from gradiometer.numerics.recursion.noise import Noise

ROUNDS = 4
"""How many guesses are made, at most."""
LEFT = 3.0
"""Relative error of a guess' drift, in units of the relative error of its mean step."""


def local(update: Update) -> bool:
    """Whether the update sums up several steps.

    Raises:
        NotApplicable: steps that differ in their examples, or that do not move along gradients.
    """
    recipe = update.recipe
    if update.sends != "delta" or recipe is None:
        return False
    parts = recipe.batch_size is not None and (update.batch_size is None or recipe.batch_size < update.batch_size)
    if recipe.optimizer != "sgd" or parts or recipe.proximal:
        what = "took steps on parts of its examples" if parts else "took steps that are not along gradients alone"
        raise NotApplicable(
            f"Recursive needs gradients of all examples at once, and this client {what}",
            fix="attack a client whose local steps see the same examples, or choose a matching attack",
        )
    return recipe.epochs > 1


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What a client with certain examples would do, in float64, by parameter name.

    Args:
        mean: its mean step, as a gradient; gradient: at the start.
    """

    mean: Mapping[str, Tensor]
    gradient: Mapping[str, Tensor]

    @property
    def drift(self) -> dict[str, Tensor]:
        """What the mean step has beside a multiple of the gradient: a common factor does the recursion no harm."""
        factor = inner(self.mean, self.gradient) / inner(self.gradient, self.gradient)
        return {name: value - factor * self.gradient[name] for name, value in self.mean.items()}


def steps(update: Update, x: Tensor, y: Tensor) -> Steps:
    """Of a client with the examples (x, y)."""
    model, loss, batch = update.need("model"), update.need("loss"), Batch(x=x, y=y)
    recipe = replace(update.need("recipe"), examples=len(x), mode="eval")
    moved = update.replace(values=simulate(model, loss, recipe, batch).values).as_gradient()
    here = simulate(model, loss, Recipe(examples=len(x)), batch).values
    return Steps(
        mean={name: value.double() for name, value in moved.items()},
        gradient={name: value.double() for name, value in here.items()},
    )


def blind(update: Update, sent: Mapping[str, Tensor], rng: torch.Generator) -> Noise:
    """What may be wrong in `sent`, the mean step, before there is a guess: as of a picture of noise."""
    x = torch.randn(1, *update.layout["x"].shape, generator=rng)
    head = [value for value in sent.values() if value.ndim == 1][-1]
    other = steps(update, x, head.argmin()[None])
    wrong, size, here = mean_squares(other.drift), mean_squares(other.mean), mean_squares(sent)
    return {name: here[name] * (value / size[name].clamp_min(1e-300)).clamp_max(1.0) for name, value in wrong.items()}


def mean_squares(values: Mapping[str, Tensor]) -> Noise:
    """Of every tensor, in its shape."""
    return {name: value.square().mean().expand_as(value) for name, value in values.items()}


def inner(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Inner product of all tensors."""
    return sum(float((value * other[name]).sum()) for name, value in one.items())
