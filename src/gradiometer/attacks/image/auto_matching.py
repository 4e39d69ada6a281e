"""AutoMatching: gradient matching whose parts follow from the model and the update."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from gradiometer.core import Attack, Card, Channel, Guess, Update, spawn
from gradiometer.numerics.distances import SquaredL2
from gradiometer.numerics.engine import smoothness

from ..inference import IDLGLabels, RowSum
from ..matching import LBFGS, GaussNewton, Matching
from ..matching.problem import pictures
from .inverting_gradients import InvertingGradients
from .recursive import Recursive

PLATEAU = 200
"""Evaluations without a thousandth of progress after which a start ends."""
RUNG = 50
"""Evaluations of the first round where several starts are halved."""
SETTLED = 1e-3
"""Part of gray's cosine distance below which analytic pictures are not descended from by signs, whose steps are coarser."""


@dataclass(frozen=True, kw_only=True)
class AutoMatching(Attack):
    """Chooses optimizer, distance, priors and start of `Matching` by this rule, which looks at model and update alone:

    - the start is what `Recursive` finds, or gray where it finds nothing nearer; a guess that it verifies to be exact stands;
    - smooth network, at least as many entries as pixels, one gradient: `GaussNewton` on the squared distance;
    - the same with several local steps or a channel: `LBFGS` on the squared distance;
    - any other network, and updates with fewer entries: Adam on signs, with cosine and total variation; there the analytic start also stands
      where its distance is a thousandth of gray's.

    Smooth is a network all of whose operations are known to have two derivatives. Every start ends on a plateau; several are halved
    successively. `notes["chosen"]` says what was chosen and why.

    Args:
        iterations: evaluations of the objective, or products with its Jacobian, a start.
        seconds: limit over all starts; `Recursive` counts and is not interrupted. With a limit the guess depends on the machine's speed.
        restarts: how many starts.
        analytic: whether `Recursive` makes the start; gray if not.
        labels: the attack that recovers labels where the threat grants none; None for `IDLGLabels` (one example) or `RowSum`.
        channel: a defense's channel, known to an informed attacker.
    """

    card: ClassVar[Card] = Card(
        summary="Chooses start, optimizer and distance of gradient matching from the model and the update.",
        modality="image",
        family="matching",
        formula="min_x D(update(x), sent), D and the way down by the class of the model",
        needs=("model", "recipe", "batch_size"),
    )
    iterations: int = 4000
    seconds: float | None = None
    restarts: int = 1
    analytic: bool = True
    labels: Attack | None = None
    channel: Channel | None = None

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        matching, why = self.choice(update)
        guess = matching.run(update, rng)
        return replace(guess, notes={**guess.notes, "chosen": why})

    def choice(self, update: Update) -> tuple[Matching, str]:
        """The configured `Matching` for this update, and why.

        Raises:
            MissingKnowledge, NotApplicable: the update is none that can be matched.
        """
        like, recipe = pictures(update, type(self).__name__), update.need("recipe")
        known = sum(value.numel() for value in update.values.values())
        kind = smoothness(update.need("model"), recipe.mode, like)
        base = Matching(
            start=Recursive() if self.analytic else "gray",
            iterations=self.iterations,
            seconds=self.seconds,
            restarts=self.restarts,
            halving=RUNG if self.restarts > 1 else None,
            patience=PLATEAU,
            labels=self.labels or (IDLGLabels() if len(like) == 1 else RowSum()),
        )
        counted = f"{kind} network, {known} entries for {like.numel()} numbers"
        if kind != "smooth" or known < like.numel():
            usual = InvertingGradients()
            signed = replace(base, distance=usual.distance, priors=usual.priors, optimizer=usual.optimizer)
            chosen = replace(signed, settled=SETTLED)
            return self._informed(chosen), f"Adam on signs: {counted}"
        squared = replace(base, distance=SquaredL2(), priors=(), boxed=False)
        if self.channel is None and (update.sends == "gradient" or recipe.steps == 1):
            # Products with the Jacobian count as evaluations, and the objective stands still during them.
            return replace(squared, optimizer=GaussNewton(), patience=None), f"GaussNewton: {counted}"
        return self._informed(replace(squared, optimizer=LBFGS())), f"LBFGS: {counted}, local steps or a channel"

    def probe(self, update: Update, rng: torch.Generator, starts: int = 4) -> list[float]:
        return self.choice(update)[0].probe(update, spawn(rng), starts)

    def observing(self, channel: Channel) -> AutoMatching:
        return replace(self, channel=channel)

    def _informed(self, matching: Matching) -> Matching:
        return matching if self.channel is None else matching.observing(self.channel)
