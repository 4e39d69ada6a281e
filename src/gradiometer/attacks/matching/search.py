"""The search: all starts through all stages, each stage from where the same start ended the one before."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from gradiometer.core import NotApplicable

from .descent import Descent
from .problem import Problem
from .race import race
from .side_by_side import Meeting, side_by_side
from .spaces import Space, Stage
from .trial import Between, Budget, Trial


class Found(NamedTuple):
    """One start in one stage, and the space that it searched."""

    trial: Trial
    space: Space


def searched(
    problem: Problem,
    stages: Sequence[Stage],
    rngs: Sequence[torch.Generator],
    budget: Budget,
    *,
    optimizer: Descent,
    halving: int | None,
    between: Callable[[Problem], Between | None],
    jobs: int,
) -> list[list[Found]]:
    """Descends every start through every stage.

    Args:
        rngs: one a start.
        budget: of the whole search; its evaluations are for each start.
        between: what interrupts the descent of a start.

    Returns:
        For each stage its starts. Those that a race gave up are not in the next one.
    """
    found: list[list[Found]] = []
    compare = any(term.compares for term in problem.terms)
    running: list[tuple[torch.Generator, Trial | None]] = [(rng, None) for rng in rngs]
    for number, stage in enumerate(stages):
        left = sum(other.share for other in stages[number:])
        part = _part(budget, stage.share, stage.share / left)
        begun = [entered(problem, stage, part, rng, trial, between) for rng, trial in running]

        def descend(trials: list[Trial], meeting: Meeting, chosen: Descent = stage.optimizer or optimizer) -> None:
            race(trials, chosen, meeting, halving=halving)

        # Starts that are ranked share a process.
        side_by_side([one.trial for one in begun], descend, jobs if halving is None else 1, compare=compare)
        found.append(begun)
        running = [(one.trial.rng, one.trial) for one in begun if not one.trial.outrun]
    return found


def least(found: Sequence[Sequence[Found]]) -> Found:
    """The best start of every stage by the objective, and of these the one with the least distance.

    Objectives of different stages hold different penalties; distances compare.

    Raises:
        NotApplicable: nothing finite was found.
    """
    best = [one for one in (min(stage, key=lambda one: one.trial.value) for stage in found) if one.trial.best]
    if not best:
        raise NotApplicable("the objective was not finite at any start", fix="check the update, or lower the step size")
    return min(best, key=lambda one: one.trial.distance)


def _part(budget: Budget, share: float, of_rest: float) -> Budget:
    """The budget of one stage: its share of the evaluations, and of the seconds that are left."""
    if share == 1:
        return budget
    seconds = None
    if budget.seconds is not None:
        seconds = max(1e-3, budget.began + budget.seconds - time.monotonic()) * of_rest
    return Budget(evaluations=max(1, round(share * budget.evaluations)), seconds=seconds, patience=budget.patience)


def entered(
    problem: Problem,
    stage: Stage,
    budget: Budget,
    rng: torch.Generator,
    before: Trial | None,
    between: Callable[[Problem], Between | None],
) -> Found:
    """One start at the first point of a stage, from where it ended the stage before, if there was one."""
    best = problem.split(before.best)[0] if before is not None and before.best else None
    space = stage.enter(best, rng)
    within = problem.within(space)
    trial = Trial(
        unknowns=within.start(rng),
        objective=within.objective,
        linearize=within.slope,
        project=within.project,
        budget=budget,
        rng=rng,
        between=between(within),
        values=[] if before is None else list(before.values),
    )
    return Found(trial, space)
