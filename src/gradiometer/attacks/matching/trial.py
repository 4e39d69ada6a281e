"""Trial: one start of the optimization, with its own count, best point and curve."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gradiometer.numerics.engine import Point, Slope

CURVE_POINTS = 100
LAST_PHASE = 0.8
"""Part of the budget after which nothing is computed in mixed precision."""


class Exhausted(Exception):
    """The evaluations or seconds of this trial are used up. Never leaves this package."""


@dataclass(kw_only=True)
class Budget:
    """Evaluations a start, and seconds over all starts (None: no limit)."""

    evaluations: int
    seconds: float | None = None
    patience: int | None = None
    began: float = field(default_factory=time.monotonic)

    def spent(self, evaluations: int) -> float:
        """The part of the budget that is gone, in [0, 1]: schedules follow it, so that a short time also anneals."""
        counted = evaluations / self.evaluations
        return min(
            1.0, counted if self.seconds is None else max(counted, (time.monotonic() - self.began) / self.seconds)
        )


@dataclass(frozen=True, kw_only=True)
class Between:
    """What is done to the unknowns of a start between its steps, every so many evaluations, and after the last."""

    every: int
    change: Callable[[Trial], None]
    finish: Callable[[Trial], None] | None = None


@dataclass(kw_only=True)
class Trial:
    """Holds the current unknowns of one start and remembers the best ones by the attack's own objective.

    Args:
        unknowns: the start.
        objective: value and gradient at given unknowns, given the mean picture of all starts, and whether mixed precision will do.
        linearize: the update's residual and Jacobian there.
        project: brings unknowns back to their legal values.
        rng: for noise in the descent.
        between: what interrupts the descent.
    """

    unknowns: list[Tensor]
    objective: Callable[[Sequence[Tensor], Tensor | None, bool], Point]
    linearize: Callable[[Sequence[Tensor]], Slope]
    project: Callable[[Sequence[Tensor]], list[Tensor]]
    budget: Budget
    rng: torch.Generator
    between: Between | None = None
    consensus: Tensor | None = None
    evaluations: int = 0
    best: list[Tensor] = field(default_factory=list)
    value: float = math.inf
    distance: float = math.inf
    values: list[float] = field(default_factory=list)
    stopped: str = ""
    outrun: bool = False
    unscored: bool = False
    last_phase: bool = False
    _mark: tuple[float, int] = (math.inf, 0)

    @property
    def progress(self) -> float:
        """How much of the budget is spent, in [0, 1]."""
        return self.budget.spent(self.evaluations)

    def evaluate(self, unknowns: Sequence[Tensor], *, mixed: bool = False) -> Point:
        """The objective at `unknowns`, counted and remembered.

        Args:
            mixed: mixed precision will do before the last phase. Such a point is no score: it is descended from, never compared.

        Raises:
            Exhausted: nothing is left of the budget, no progress for `patience` evaluations, or the objective is not finite.
        """
        self.spend(1)
        self.last_phase = self.last_phase or self.progress >= LAST_PHASE
        point = self.objective(unknowns, self.consensus, mixed and not self.last_phase)
        self._note(point, unknowns)
        return point

    def score(self) -> None:
        """Evaluates the unknowns in full precision if the last evaluation was not, so that this start can be compared."""
        if self.unscored:
            self.evaluations += 1
            self._remember(self.objective(self.unknowns, self.consensus, False), self.unknowns)

    def settle(self, unknowns: Sequence[Tensor]) -> None:
        """These unknowns count instead of the best so far."""
        self.value = math.inf
        self._remember(self.objective(unknowns, self.consensus, False), unknowns)

    def spend(self, evaluations: int) -> None:
        """Counts work that is worth so many evaluations. The first is always made, however slow the machine.

        Raises:
            Exhausted: nothing is left of the budget.
        """
        if self.evaluations and self.progress >= 1:
            self.stop("budget" if self.evaluations >= self.budget.evaluations else "seconds")
        self.evaluations += evaluations

    def note_residual(self, residual: Tensor, unknowns: Sequence[Tensor]) -> float:
        """Remembers unknowns whose distance is the squared length of a residual, and returns it."""
        self.spend(1)
        value = float(residual.square().sum())
        self._note(Point(value=value, distance=value, gradient=[]), unknowns)
        return value

    def _note(self, point: Point, unknowns: Sequence[Tensor]) -> None:
        self.values.append(point.value)
        if not math.isfinite(point.value):
            self.stop("objective not finite")
        self._remember(point, unknowns)
        if point.value < 0.999 * self._mark[0]:
            self._mark = (point.value, self.evaluations)
        elif self.budget.patience is not None and self.evaluations - self._mark[1] >= self.budget.patience:
            if not point.mixed:
                self.stop("plateau")
            self.last_phase, self._mark = True, (math.inf, self.evaluations)

    def _remember(self, point: Point, unknowns: Sequence[Tensor]) -> None:
        self.unscored = point.mixed
        if not point.mixed and point.value < self.value:
            self.best = [value.detach().clone() for value in unknowns]
            self.value, self.distance = point.value, point.distance

    def stop(self, reason: str) -> None:
        """Ends this trial."""
        self.stopped = reason
        raise Exhausted(reason)

    @property
    def curve(self) -> tuple[float, ...]:
        """The objective over the evaluations, at most 100 points, first and last among them."""
        last = len(self.values) - 1
        points = min(CURVE_POINTS, len(self.values))
        return tuple(self.values[round(i * last / max(points - 1, 1))] for i in range(points))
