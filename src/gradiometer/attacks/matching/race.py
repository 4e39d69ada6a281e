"""Many starts side by side: some priors compare them, and those that fall behind can be given up."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from .descent import Descent
from .side_by_side import Meeting
from .trial import Exhausted, Trial


def race(
    trials: list[Trial],
    optimizer: Descent,
    meeting: Meeting,
    *,
    halving: int | None = None,
) -> None:
    """Descends all starts in turns until each has stopped.

    Args:
        meeting: where starts look at each other.
        halving: evaluations after which only the better half of the starts, by their own best objective, goes on; then half of
            these after twice as many, and so on, until one is left. Every round costs the same. A start that stopped by itself
            keeps its rank and is not descended again. None: all go on.

    References:
        Karnin, Koren, Somekh, Almost Optimal Exploration in Multi-Armed Bandits, 2013 (successive halving).
        Jamieson, Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter Optimization, 2015, arXiv:1502.07943.
    """
    running = [(trial, optimizer.descend(trial)) for trial in trials]
    kept, rung = trials, halving
    while meeting(bool(running)):
        if rung is not None and all(trial.evaluations >= rung for trial, _ in running):
            for trial, _ in running:
                trial.score()
            kept = sorted(kept, key=lambda trial: trial.value)[: -(-len(kept) // 2)]
            for trial, _ in running:
                if not any(trial is other for other in kept):
                    trial.stopped, trial.outrun = f"worse half after {rung} evaluations", True
            running = [(trial, steps) for trial, steps in running if not trial.stopped]
            rung = 2 * rung if len(kept) > 1 else None
        if len(kept) < len(trials) and kept[0].consensus is not None:  # those given up have no say
            consensus = torch.stack([trial.unknowns[0] for trial in kept]).mean(0)
            for trial in kept:
                trial.consensus = consensus
        # A line search takes more evaluations in one start than in another: who is ahead waits at the rung.
        behind = [(trial, steps) for trial, steps in running if rung is None or trial.evaluations < rung]
        for trial, steps in behind:
            _advance(trial, steps)
        running = [(trial, steps) for trial, steps in running if not trial.stopped]
    for trial in trials:
        if trial.best and trial.between is not None and trial.between.finish is not None:
            trial.between.finish(trial)


def _advance(trial: Trial, steps: Iterator[None]) -> None:
    before, between = trial.evaluations, trial.between
    try:
        next(steps)
        if between is not None and trial.evaluations // between.every > before // between.every:
            between.change(trial)
    except Exhausted:
        trial.score()
