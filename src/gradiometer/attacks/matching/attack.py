"""Matching: optimize a dummy batch until the update that it would cause is the one that was seen."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gradiometer.core import Attack, BadConfig, Card, Channel, Guess, NotApplicable, Update, spawn
from gradiometer.numerics.distances import Cosine, Distance, SquaredL2
from gradiometer.numerics.engine import Engine, Precision
from gradiometer.numerics.median import median_filter
from gradiometer.numerics.priors import Prior, TotalVariation

from .descent import LBFGS, Adam, Descent
from .gauss_newton import GaussNewton
from .problem import Problem, pictures, simulated_client, weighed
from .search import least, searched
from .spaces import Pixels, Stage, Unknown
from .starts import HeadStart, Start, head_start
from .trial import Between, Budget, Trial


@dataclass(frozen=True, kw_only=True)
class Matching(Attack):
    """Minimizes D(update of the unknown batch, sent update) + priors over the unknown batch.

    Every published gradient-matching attack on pictures is a setting of these parts. The unknown batch goes through the
    client's own code, in the client's mode and recipe. Candidates are compared by this objective alone.

    Args:
        distance: of updates.
        priors: penalties on the pictures.
        optimizer: `Adam` or `LBFGS`, with step size and schedule, `GaussNewton` for smooth networks, or `CMA` and `TuRBO` without derivatives.
        start: `randn`, `gray`, `mean` (of the public data), `patterned` (a repeated tile) or `zeros`; or an attack, from
            whose pictures the descent goes on, with their labels (from gray, and with labels if no others are known, where it finds no
            pictures, or such with a higher objective than gray); a guess that it has verified to be exact is only evaluated.
        unknown: what is searched for in place of the pictures: `Latent`, `Features`, `LatentThenWeights` (of a generator), `Untrained`. Then
            `start`, `boxed` and `median_every`, which are about pictures, have no meaning.
        settled: pictures of such an attack whose distance is at most this part of gray's stand as well: a descent could only trade them
            for what the priors like.
        boxed: pictures are brought back to their legal range after every step.
        median_every: a 3 x 3 median filter every so many evaluations.
        restarts: how many starts are descended side by side; the lowest objective is returned.
        halving: the worse half of the starts is given up after so many evaluations each, half of the others after twice as
            many, and so on (successive halving), by their objective.
        iterations: evaluations of the objective a start, over all its stages.
        seconds: limit over all starts. With a limit the guess depends on the speed of the machine.
        patience: stop a start whose best objective falls by less than a thousandth in so many evaluations.
        match: `strong` simulates the whole local training of a weight delta, `weak` takes the delta as one gradient.
        labels: the attack that recovers labels where the threat grants none.
        joint_labels: without labels and such an attack, optimize probabilities of the classes together with the pictures.
        channel: a defense's channel, known to an informed attacker; its likelihood replaces the distance.
        precision: `float32` or `float64` throughout; `bfloat16` while Adam descends and in float32 for the last fifth and all scores; `auto`:
            the model's type, with bfloat16 as above where the hardware has units for it and a timed step shows that they pay.
        jobs: processes of one thread that share the starts (Linux, CPU); the guess is that of one process on one thread; not with `halving`.
            No setting of a plan: an audit shares its trials among processes instead.
    """

    card: ClassVar[Card] = Card(
        summary="Optimizes a dummy batch until its update matches the one that was sent; every part is a setting.",
        modality="image",
        family="matching",
        formula="min_x D(update(x), sent) + priors(x)",
        needs=("model", "recipe", "batch_size"),
    )
    distance: Distance = Cosine()
    priors: tuple[Prior, ...] = (TotalVariation(),)
    optimizer: Descent = Adam()
    start: Start | Attack = "gray"
    unknown: Unknown | None = None
    settled: float = 0.0
    boxed: bool = True
    median_every: int | None = None
    restarts: int = 1
    halving: int | None = None
    iterations: int = 1000
    seconds: float | None = None
    patience: int | None = None
    match: Literal["strong", "weak"] = "strong"
    labels: Attack | None = None
    joint_labels: bool = False
    channel: Channel | None = None
    precision: Precision = "auto"
    jobs: int = field(default=1, compare=False)

    def __post_init__(self) -> None:
        counts = {"iterations": self.iterations, "restarts": self.restarts, "median_every": self.median_every}
        counts |= {"patience": self.patience, "halving": self.halving, "jobs": self.jobs}
        problems = [
            f"{name} must be at least 1, got {count}"
            for name, count in counts.items()
            if count is not None and count < 1
        ]
        if self.seconds is not None and not self.seconds > 0:
            problems.append(f"seconds must be positive, got {self.seconds}")
        if isinstance(self.optimizer, GaussNewton) and (self.priors or not isinstance(self.distance, SquaredL2)):
            problems.append("GaussNewton solves for the update alone: distance = SquaredL2(), priors = ()")
        if self.unknown is not None and (isinstance(self.start, Attack) or self.median_every is not None):
            problems.append("a start from another attack and a median filter are about pictures: leave unknown out")
        if problems:
            raise BadConfig(f"{type(self).__name__} cannot run with these settings", problems=problems)

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        budget = Budget(evaluations=self.iterations, seconds=self.seconds, patience=self.patience)
        start = head_start(self.start, update, spawn(rng)) if isinstance(self.start, Attack) else None
        problem, source = self._problem(update, spawn(rng), start)
        if start is not None and not start.exact:
            start = weighed(problem, start, spawn(rng), self.settled)
        done = start is not None and start.exact
        if done:
            budget.evaluations = 1
        rngs = [spawn(rng) for _ in range(1 if done else self.restarts)]
        found = searched(
            problem,
            self._stages(problem, start),
            rngs,
            budget,
            optimizer=self.optimizer,
            halving=self.halving,
            between=self._between,
            jobs=self.jobs,
        )
        trials, (best, space) = [one.trial for stage in found for one in stage], least(found)
        answer, told = self._answer(problem.within(space), best, trials)
        if update.labels is not None:
            del answer["y"]  # what was granted is no claim
        return Guess(
            tensors={name: value.detach().cpu() for name, value in answer.items()},
            objective=best.value,
            curve=best.curve,
            notes={
                "labels": source,
                "distance": best.distance,
                "engine": problem.engine.path,
                "precision": problem.engine.computed,
                "iterations": sum(trial.evaluations for trial in trials),
                "stopped": [trial.stopped for trial in trials],
                "evaluations": [trial.evaluations for trial in trials],
                "objectives": [trial.value for trial in trials],
                **({"match": self.match} if update.sends == "delta" else {}),
                **({"start": start.way} if start is not None else {}),
                **told,
                **({"stages": [min(one.trial.distance for one in stage) for stage in found]} if len(found) > 1 else {}),
            },
        )

    def probe(self, update: Update, rng: torch.Generator, starts: int = 4) -> list[float]:
        problem, _ = self._problem(update, spawn(rng))
        first, values = replace(self, start="randn")._stages(problem, None)[0], []
        for _ in range(starts):
            within = problem.within(first.enter(None, spawn(rng)))
            values.append(within.objective(within.start(spawn(rng))).distance)  # penalties vary whatever the update is
        return values

    def observing(self, channel: Channel) -> Matching:
        labels = None if self.labels is None else self.labels.observing(channel) or self.labels
        start = self.start.observing(channel) or self.start if isinstance(self.start, Attack) else self.start
        optimizer = LBFGS() if isinstance(self.optimizer, GaussNewton) else self.optimizer  # a likelihood is no square
        return replace(self, channel=channel, labels=labels, start=start, optimizer=optimizer)

    def _problem(self, update: Update, rng: torch.Generator, start: HeadStart | None = None) -> tuple[Problem, str]:
        like = pictures(update, type(self).__name__, self.precision)
        told = start is not None and start.y is not None and (self.labels is None or start.x is not None)
        if start is not None and told and update.labels is None:
            labels: Tensor | None = start.y
            source = type(self.start).__name__
        else:
            labels, source = self._labels(update, rng)
        values = update.values if self.channel is None else self.channel.decode(update.values)
        known = update.replace(labels=labels, values=values)
        terms = tuple(prior.term(known) for prior in self.priors)
        watch = frozenset(name for term in terms for name in term.watches)
        engine = self._engine(update, like.dtype, rng, watch)
        return Problem(update=update, engine=engine, terms=terms, labels=labels, like=like, boxed=self.boxed), source

    def _engine(
        self, update: Update, dtype: torch.dtype, rng: torch.Generator, watch: frozenset[str] = frozenset()
    ) -> Engine:
        """The client's simulation, compared with what was sent."""
        return simulated_client(
            update,
            distance=self.distance,
            channel=self.channel,
            weak=self.match == "weak",
            watch=watch,
            seed=int(torch.randint(2**31, (), generator=rng)),
            precision=self.precision,
            dtype=dtype,
        )

    def _answer(self, problem: Problem, best: Trial, trials: list[Trial]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What to claim, of the best of all starts, and notes on it."""
        return problem.answer(best.best), {}

    def _labels(self, update: Update, rng: torch.Generator) -> tuple[Tensor | None, str]:
        if update.labels is not None:
            return update.labels, "granted"
        if self.labels is not None:
            found, name = self.labels.run(update, rng)["y"], type(self.labels).__name__
            if len(found) != update.need("batch_size"):
                raise NotApplicable(f"{name} recovered {len(found)} labels for {update.batch_size} examples")
            return found, name
        if self.joint_labels:
            return None, "joint"
        if "y" in update.layout:
            return update.need("labels"), ""
        raise NotApplicable("the layout names no labels; this attack simulates a loss that needs them")

    def _stages(self, problem: Problem, start: HeadStart | None) -> tuple[Stage, ...]:
        if self.unknown is not None:
            return self.unknown.stages(problem.update, problem.like)
        kind, x = "gray" if isinstance(self.start, Attack) else self.start, None if start is None else start.x
        began = False

        def enter(before: list[Tensor] | None, rng: torch.Generator) -> Pixels:
            nonlocal began
            again, began = began, True
            return problem.pixels(kind, rng, again=again, x=x)

        return (Stage(enter=enter),)

    def _between(self, problem: Problem) -> Between | None:
        """What interrupts the descent of each start."""
        return None if self.median_every is None else Between(every=self.median_every, change=_median)


def _median(trial: Trial) -> None:
    trial.unknowns[0] = median_filter(trial.unknowns[0])
