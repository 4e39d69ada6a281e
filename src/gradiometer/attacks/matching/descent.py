"""How the objective is descended: Adam on the gradient or its sign, and L-BFGS. Each yields after every iteration."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from .trial import Trial

Schedule = Literal["constant", "step", "cosine", "linear", "ramp"]


@runtime_checkable
class Descent(Protocol):
    """An optimizer as a value."""

    def descend(self, trial: Trial) -> Iterator[None]:
        """Improves `trial.unknowns` through `trial.evaluate`; yields between iterations, ends when it can do no more."""
        ...


def factor(schedule: Schedule, progress: float) -> float:
    """What is left of the step size after this part of the budget, 1 at its begin.

    >>> [factor("step", p) for p in (0.0, 0.4, 0.7, 0.9)]
    [1.0, 0.1, 0.01, 0.001]
    """
    if schedule == "constant":
        return 1.0
    if schedule == "linear":
        return 1 - progress
    if schedule == "ramp":
        return min(1.0, 20 * progress) * 0.5 * (1 - math.cos(math.pi * min(1.0, 4 * (1 - progress))))
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    return round(0.1 ** sum(progress >= part / 8 for part in (3, 5, 7)), 3)


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Adam, optionally on the sign of the gradient, with a schedule over the budget, warm-up and Langevin noise.

    Args:
        lr: step size in units of normalized pixels.
        sign: `hard` takes sign(g); `soft` takes tanh(s g) / s with s falling from 1 to 0 over the budget.
        schedule: `step` divides by 10 at 3/8, 5/8 and 7/8 of the budget; `ramp` rises over the first twentieth and falls as a cosine over the
            last quarter.
        warmup: iterations over which the step size rises linearly to `lr`.
        langevin: standard deviation of the noise added to every step, in units of the step size.
    """

    lr: float = 0.1
    sign: Literal["none", "soft", "hard"] = "hard"
    schedule: Schedule = "cosine"
    warmup: int = 0
    langevin: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)

    def descend(self, trial: Trial) -> Iterator[None]:
        first = [torch.zeros_like(value) for value in trial.unknowns]
        second = [torch.zeros_like(value) for value in trial.unknowns]
        low, high = self.betas
        count = 0
        while True:
            progress = trial.progress
            gradient = self._signed(trial.evaluate(trial.unknowns, mixed=True).gradient, progress)
            count += 1
            rate = self.lr * factor(self.schedule, progress) * min(1.0, count / max(self.warmup, 1))
            moved = []
            for i, (value, slope) in enumerate(zip(trial.unknowns, gradient)):
                first[i].lerp_(slope, 1 - low)
                second[i].mul_(high).addcmul_(slope, slope, value=1 - high)
                spread = second[i].sqrt().div_((1 - high**count) ** 0.5).add_(1e-8)
                step = torch.addcdiv(value, first[i], spread, value=-rate / (1 - low**count))
                if self.langevin:
                    step.sub_(torch.randn(value.shape, generator=trial.rng).to(value), alpha=rate * self.langevin)
                moved.append(step)
            trial.unknowns = trial.project(moved)
            yield

    def _signed(self, gradient: list[Tensor], progress: float) -> list[Tensor]:
        if self.sign == "hard":
            return [slope.sign() for slope in gradient]
        if self.sign == "soft" and progress < 1:
            left = 1 - progress
            return [(left * slope).tanh() / left for slope in gradient]
        return gradient


@dataclass(frozen=True, kw_only=True)
class LBFGS:
    """L-BFGS with strong-Wolfe line search: for smooth networks. Projects to legal values only at the end.

    Args:
        lr: first trial step.
        history: remembered pairs of steps and gradient changes.
        inner: iterations between two looks at the other starts.
    """

    lr: float = 1.0
    history: int = 100
    inner: int = 20
    line_search: bool = True

    def descend(self, trial: Trial) -> Iterator[None]:
        leaves = [value.clone().requires_grad_() for value in trial.unknowns]
        optimizer = torch.optim.LBFGS(
            leaves,
            lr=self.lr,
            max_iter=self.inner,
            max_eval=10**9,
            history_size=self.history,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe" if self.line_search else None,
        )

        def closure() -> Tensor:
            point = trial.evaluate([leaf.detach() for leaf in leaves])
            for leaf, slope in zip(leaves, point.gradient):
                leaf.grad = slope
            return torch.tensor(point.value, dtype=leaves[0].dtype)

        while True:
            before = trial.unknowns
            for leaf, value in zip(leaves, before):
                leaf.data.copy_(value)
            optimizer.step(closure)
            trial.unknowns = [leaf.detach().clone() for leaf in leaves]
            yield
            if all(torch.equal(old, new) for old, new in zip(before, trial.unknowns)):
                trial.stop("line search")
