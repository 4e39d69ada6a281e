"""Whether a guess is exact: the gradient that it would cause is the one that was sent, up to rounding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from gradiometer.core import Batch, Channel, Loss, Recipe, Update, Values, clone_model, simulate

from .summed import weighted, weights

FLOAT32_LIMIT = 3e-6
"""Relative error of a gradient that a float32 client's own rounding explains. A cautious guess, not yet measured across machines."""
KINKS = 1e-3
"""Relative error of a gradient beyond which no jump at kinks excuses it: pictures may lie on many kinks at once."""
NOISE, DRAWS = 1e-6, 8
"""Relative error of pictures that counts as none (120 dB), and how many draws of it show how far it moves the gradient."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Verifier:
    """Compares what pictures with these labels, from a client in this mode, would send with what was sent.

    Args:
        residues: of every example [n, classes]: they tell its weight in a sum over clients.
    """

    update: Update
    labels: Tensor
    channel: Channel | None = None
    mode: Literal["eval", "train"] = "eval"
    residues: Tensor | None = None

    @property
    def sent(self) -> Values:
        """The update's values, decoded where a defense is known."""
        return self.update.values if self.channel is None else self.channel.decode(self.update.values)

    def caused(self, x: Tensor) -> Values:
        """What a client with the pictures [n, *shape] would send, as `sent` reads it."""
        model, loss = self.update.need("model"), self.loss(x)
        recipe = Recipe(examples=len(x), mode=self.mode)
        if self.update.sends == "delta":
            recipe = replace(self.update.need("recipe"), examples=len(x), mode=self.mode)
        raw = simulate(model, loss, recipe, Batch(x=x, y=self.labels)).values
        return raw if self.channel is None else self.channel.decode(self.channel.forward(raw))

    def loss(self, x: Tensor) -> Loss:
        """What the gradient of the pictures is to be taken of."""
        loss: Loss = self.update.need("loss")
        return loss if (shares := self.weights(x)) is None else weighted(loss, shares)

    def weights(self, x: Tensor) -> Tensor | None:
        """Of the pictures in a sum over clients [n]; None for one client, whose examples count alike."""
        if self.update.clients == 1 or self.residues is None:
            return None
        model = clone_model(self.update.need("model")).eval()
        return weights(model, x, self.labels, self.residues)

    def derivable(self, x: Tensor) -> list[Tensor]:
        """The same in the precision of x, with derivatives by it: a tensor each, in the update's order."""
        model = self.update.need("model")
        model = model if x.dtype == torch.float32 else clone_model(model).to(x.dtype)
        batch = Batch(x=x, y=self.labels)
        recipe = Recipe(examples=len(x), mode=self.mode)
        values = simulate(model, self.loss(x.detach().float()), recipe, batch, differentiable=True).values
        return [values[name] for name in self.update.as_gradient()]

    def distance(self, x: Tensor) -> float:
        """Relative distance of the caused gradient from the sent one."""
        sent = self.sent
        return _distance(self.caused(x), sent) / _size(sent)

    def verdict(self, x: Tensor, rng: torch.Generator) -> tuple[float, float]:
        """How far the caused gradient is from the sent one, and how far rounding explains.

        A unit at its kink makes the gradient jump where the guess stands on its other side: neighbors of the guess
        stand for it, so that neither such a jump nor the lack of one decides.
        """
        sent, here = self.sent, self.caused(x)
        total, size = _size(sent), NOISE * float(x.square().mean().sqrt())
        agreement, limit, moved = _distance(here, sent) / total, FLOAT32_LIMIT, float("inf")
        for _ in range(DRAWS):
            if agreement <= limit:
                break
            draw = self.caused(x + size * torch.randn(x.shape, generator=rng))
            moved = min(moved, _distance(draw, here) / total)
            agreement, limit = min(agreement, _distance(draw, sent) / total), max(FLOAT32_LIMIT, min(3 * moved, KINKS))
        return agreement, limit


def _size(values: Values) -> float:
    return sum(float(value.double().square().sum()) for value in values.values()) ** 0.5


def _distance(one: Values, other: Values) -> float:
    return sum(float((one[name].double() - other[name].double()).square().sum()) for name in other) ** 0.5
