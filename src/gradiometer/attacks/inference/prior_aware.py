"""PriorAware: which of a set of candidate examples stands behind an update."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from gradiometer.core import Attack, BadConfig, Batch, Card, Channel, Guess, NotApplicable, Update, Values, simulate
from gradiometer.numerics.shrinking import clip_length


@dataclass(frozen=True, kw_only=True)
class PriorAware(Attack):
    """Names the public example whose own update lies nearest: max_j <v_j, s> - ||v_j||^2 / 2, with v_j clipped.

    Under Gaussian noise that is the most likely candidate, and the attack that the reconstruction bound
    Phi(Phi^-1(1/K) + sqrt(T) / z) of K equally likely candidates is compared with. Where the private example is none of
    them, the answer is the public one that moves the model most alike. Noise of several rounds averages out: add up
    their `scores`.

    Args:
        candidates: the first so many public examples; None: all.
        bound: length to which the defense clips single gradients; None: unknown, so that all count as equally long.
        channel: what an informed attacker knows of a defense.

    References:
        Hayes, Mahloujifar, Balle, "Bounding Training Data Reconstruction in DP-SGD", 2023, arXiv:2302.07225.
    """

    card: ClassVar[Card] = Card(
        summary="Picks, among candidate examples, the one whose gradient fits the noisy update best.",
        title="Bounding Training Data Reconstruction in DP-SGD",
        authors="Hayes, Mahloujifar, Balle",
        year=2023,
        arxiv="2302.07225",
        family="identification",
        formula="argmax_j <clip(g_j), s> - ||clip(g_j)||^2 / 2",
        needs=("model", "recipe", "batch_size", "public"),
        departs="takes the norms into account, which are alike in the paper, where all candidates are clipped",
    )
    candidates: int | None = None
    bound: float | None = None
    channel: Channel | None = None

    def __post_init__(self) -> None:
        problems = [] if self.candidates is None or self.candidates >= 1 else ["candidates must be at least 1"]
        problems += [] if self.bound is None or self.bound > 0 else [f"bound must be positive, got {self.bound}"]
        if problems:
            raise BadConfig("PriorAware cannot be set up", problems=problems)

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        return self.read(update, self.calibrate(update, rng))

    def calibrate(self, update: Update, rng: torch.Generator) -> Tensor:
        """What each candidate would have sent, [candidates, entries]: the same for all updates from this model."""
        model, loss, public = update.need("model"), update.need("loss"), update.need("public")
        size = update.need("batch_size")
        if size != 1 or update.clients != 1:
            raise NotApplicable(
                f"PriorAware names one example, and {size} of {update.clients} client(s) stand behind this update",
                fix="audit a client with one example, as if the attacker knew all others and had taken them away",
            )
        recipe = replace(update.need("recipe"), examples=1)
        rows = []
        for i in range(public.size if self.candidates is None else min(self.candidates, public.size)):
            values: Values = simulate(model, loss, recipe, public.take([i]), rng=rng).values
            if self.channel is not None:
                values = self.channel.forward(values)
            rows.append(_flat(clip_length(values, self.bound or math.inf)))
        return torch.stack(rows)

    def scores(self, update: Update, known: Tensor) -> Tensor:
        """How well each candidate fits, [candidates]: log-likelihood ratios up to a factor where `bound` is given."""
        sent = _flat(update.values if self.channel is None else self.channel.decode(update.values)).to(known)
        fit, square = known @ sent, known.square().sum(1)
        return fit - square / 2 if self.bound is not None else fit / square.clamp_min(1e-30).sqrt()

    def read(self, update: Update, known: Tensor) -> Guess:
        """The best candidate of one update."""
        scores = self.scores(update, known)
        best = int(scores.argmax())
        chosen: Batch = update.need("public").take([best])
        return Guess(tensors=dict(chosen), notes={"candidate": best, "scores": scores.tolist()[:100]})

    def observing(self, channel: Channel) -> Attack:
        return replace(self, channel=channel)


def _flat(values: Values) -> Tensor:
    return torch.cat([value.reshape(-1) for value in values.values()])
