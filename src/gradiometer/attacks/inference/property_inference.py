"""PropertyInference: has the batch a property that is not its label, such as where its pictures were taken?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gradiometer.core import Attack, BadConfig, Card, Defense, Guess, NotApplicable, Update, Values, spawn
from gradiometer.numerics.pooling import pooled_features

from .row_sum import RowSum
from .shadows import shadows


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A forest that tells rounds with the property from rounds without, by their pooled features; did it know `labels`?"""

    forest: Any
    labels: bool

    def chance(self, values: Values, pooled: int) -> float:
        """Share of the trees' votes for the property."""
        return float(self.forest.predict_proba(pooled_features(values, pooled)[None].numpy())[0, 1])


@dataclass(frozen=True, kw_only=True)
class PropertyInference(Attack):
    """Trains a random forest on simulated updates with and without the property, and shows it the observed one.

    The shadow rounds follow the client's own recipe from the same model, on public examples, and are summed over as many
    clients as the update is. The informed attacker's shadow clients also use the defense, with its randomness. Where
    examples with the property are a share of the batch, the answer is whether that lies nearer to the second of `shares`
    than to the first.

    Args:
        mark: the name of a tensor [n] of 0 and 1 that public examples carry beside `x` and `y`. Models and losses
            do not look at it.
        shares: of all examples behind the update that have the property, without and with it, in [0, 1]. For one site
            in a sum over K of equal size: 0 and 1 / K.
        labels: the shadow clients' examples have `any` labels, so that one forest serves all clients of a round; or those
            that are granted, or that `RowSum` can `read` off the update: a forest of its own for each, which is not led
            astray by who has which classes.
        rounds: shadow rounds, every second one with the property.
        trees: of the forest; leaves hold at least five rounds.
        pooled: runs of entries a tensor whose maximum and mean are features.
        defense: what the shadow clients use; `None`: nothing.

    Returns (in `Guess.tensors`):
        present: [1], bool; score: [1], share of the trees that say so, by which updates are ranked.

    Departs from the paper in joining means and norms to max-pooled magnitudes, in labels that are read first, and in
    simulating sums, local training and defenses.
    """

    card: ClassVar[Card] = Card(
        summary="Tells whether a batch has a property that is not its label, by a forest trained on simulated updates.",
        title="Exploiting Unintended Feature Leakage in Collaborative Learning",
        authors="Melis, Song, De Cristofaro, Shmatikov",
        year=2019,
        arxiv="1805.04049",
        modality="any",
        family="inference",
        formula="P(property | pool(v / ||v||)), forest trained on simulated v with and without it",
        needs=("model", "recipe", "batch_size", "public"),
        departs="means and norms beside max-pooled magnitudes; shadow rounds follow sums, local steps and defenses",
    )
    mark: str = "scanner"
    shares: tuple[float, float] = (0.0, 1.0)
    labels: Literal["any", "read"] = "any"
    rounds: int = 400
    trees: int = 100
    pooled: int = 64
    defense: Defense | None = None

    def __post_init__(self) -> None:
        low, high = self.shares
        problems = [] if 0 <= low < high <= 1 else [f"shares must be 0 <= without < with <= 1, got {self.shares}"]
        for name, least in (("rounds", 20), ("trees", 1), ("pooled", 1)):
            if getattr(self, name) < least:
                problems.append(f"{name} must be at least {least}, got {getattr(self, name)}")
        if problems:
            raise BadConfig("PropertyInference cannot be set up", problems=problems)

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        return self.read(update, self.train(update, rng))

    def train(self, update: Update, rng: torch.Generator) -> Trained:
        """The forest for rounds like this one. Of its values it sees at most the labels.

        Raises:
            MissingKnowledge, NotApplicable, BadInput: as `shadows`; NotApplicable also where both shares are the same
                number of examples.
        """
        from sklearn.ensemble import RandomForestClassifier

        round_of = shadows(update, self.mark, self.defense, self._labels(update, rng))
        if len({round(share * round_of.size) for share in self.shares}) < 2:
            raise NotApplicable(
                f"of {round_of.size} examples, shares of {self.shares[0]:g} and {self.shares[1]:g} are equally many",
                fix="look for a greater share, or in larger batches",
            )
        turns = [turn % 2 for turn in range(self.rounds)]
        features = [pooled_features(round_of.played(self.shares[turn], spawn(rng)), self.pooled) for turn in turns]
        seed = int(torch.randint(2**31, (), generator=rng))
        forest = RandomForestClassifier(self.trees, min_samples_leaf=5, random_state=seed)
        return Trained(forest=forest.fit(torch.stack(features).numpy(), turns), labels=round_of.labels is not None)

    def read(self, update: Update, known: Trained) -> Guess:
        """The answer for one update."""
        chance = known.chance(update.values, self.pooled)
        return Guess(
            tensors={"present": torch.tensor([chance > 0.5]), "score": torch.tensor([chance])},
            confidence=torch.tensor([max(chance, 1 - chance)]),
            notes={"mark": self.mark, "shares": list(self.shares), "rounds": self.rounds, "labels": known.labels},
        )

    def _labels(self, update: Update, rng: torch.Generator) -> Tensor | None:
        """Of all examples, granted or read; None where neither can be, or they are not to be."""
        if self.labels == "any" or update.labels is not None:
            return update.labels if self.labels == "read" else None
        try:
            return RowSum().run(update, spawn(rng))["y"]
        except NotApplicable:
            return None

    def simulating(self, defense: Defense) -> Attack:
        return replace(self, defense=defense)
