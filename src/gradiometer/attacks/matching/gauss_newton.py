"""Gauss-Newton descent: the gradient map is known to be smooth, so its linearization is solved instead of followed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.numerics.engine import Slope

from .trial import Trial


@dataclass(frozen=True, kw_only=True)
class GaussNewton:
    """Levenberg-Marquardt without matrices: min_v |r + J v|^2 + damping |v|^2 by conjugate gradients, then a step of v.

    For smooth networks (sigmoid, tanh, GELU), the distance `SquaredL2` and no priors. Every product with J' J counts as one
    iteration of the attack. Across the kinks of a ReLU the linearization is wrong, and steps are refused.

    Args:
        products: most conjugate gradient steps for one step of the unknown.
        tolerance: conjugate gradients end when the residual of their equations has fallen to this part.
        damping: at the first step; divided by 5 after a step that helps, times 4 after one that does not.

    References:
        Levenberg, A Method for the Solution of Certain Non-Linear Problems in Least Squares, 1944.
        Marquardt, An Algorithm for Least-Squares Estimation of Nonlinear Parameters, 1963.
    """

    products: int = 400
    tolerance: float = 0.1
    damping: float = 1e-3

    def descend(self, trial: Trial) -> Iterator[None]:
        """See `Descent`."""
        damping, refused = self.damping, 0
        while refused < 20:
            slope = trial.linearize(trial.unknowns)  # anew in every step: other starts use the engine in between
            value = trial.note_residual(slope.residual, trial.unknowns)
            step = self._solved(trial, slope, damping)
            tried = [unknown + move for unknown, move in zip(trial.unknowns, step)]
            if trial.note_residual(trial.linearize(tried).residual, tried) < value:
                trial.unknowns, damping, refused = tried, max(damping / 5, 1e-14), 0
            else:
                damping, refused = min(damping * 4, 1e3), refused + 1
            yield
        trial.stop("no step helps")

    def _solved(self, trial: Trial, slope: Slope, damping: float) -> list[Tensor]:
        """The move of every unknown."""
        downhill = [-part for part in slope.pull(slope.residual)]
        solution = [torch.zeros_like(part) for part in downhill]
        turned = slope.conditioned(downhill)
        direction, power = [part.clone() for part in turned], _dot(downhill, turned)
        first = power
        for _ in range(self.products):
            if not power > self.tolerance**2 * first:
                break
            image = slope.pull(slope.push(direction))
            trial.spend(1)
            bent = [part.add_(along, alpha=damping) for part, along in zip(image, direction)]
            length = power / max(_dot(direction, bent), 1e-300)
            for found, left, along, change in zip(solution, downhill, direction, bent):
                found.add_(along, alpha=length)
                left.sub_(change, alpha=length)
            turned = slope.conditioned(downhill)
            before, power = power, _dot(downhill, turned)
            direction = [part + power / before * along for part, along in zip(turned, direction)]
        return solution


def _dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    return sum(float((x * y).sum()) for x, y in zip(a, b))
