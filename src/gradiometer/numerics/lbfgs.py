"""L-BFGS on many independent problems at once: one evaluation serves all, and each has its own steps and history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

DECREASE = 1e-4
"""Part of the decrease that the slope promises, which a step must keep (Armijo)."""
TRIES = 8

Objective = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Descended:
    """Points [problems, ...], their objectives [problems], and how many evaluations of one problem were used."""

    x: Tensor
    value: Tensor
    evaluations: int


def descend(
    objective: Objective,
    start: Tensor,
    *,
    evaluations: int,
    finished: Callable[[Tensor, Tensor], Tensor],
    patience: int = 4,
    history: int = 30,
) -> Descended:
    """Minimizes every problem on its own.

    Args:
        objective: values [k] of the points [k, ...] of the problems with these numbers [k]; differentiable.
        start: [problems, ...].
        evaluations: upper limit for each problem.
        finished: from the values `patience` iterations ago and now, which problems need not go on.
        history: pairs of steps and changes of the gradient that are kept.

    References:
        Liu, Nocedal, On the Limited Memory BFGS Method for Large Scale Optimization, 1989.
    """
    result, values = start.clone(), torch.full((len(start),), torch.inf, dtype=start.dtype)
    state = _State.begin(objective, start)
    used, rounds = len(start), 1
    earlier = state.value
    iteration = 0
    while len(state.numbers) and rounds < evaluations:
        spent, longest = state.step(objective, history)
        used, rounds, iteration = used + spent, rounds + longest, iteration + 1
        over = state.stuck
        if iteration % patience == 0:
            over = over | finished(earlier, state.value)
        result[state.numbers], values[state.numbers] = state.x.reshape(-1, *start.shape[1:]), state.value
        if bool(over.any()):
            state = state.only(~over)
            earlier = earlier[~over]
        if iteration % patience == 0:
            earlier = state.value
    return Descended(x=result, value=values, evaluations=used)


@dataclass(kw_only=True, eq=False)
class _State:
    """The problems that are still going on, flattened: numbers [k], points, gradients [k, n], values [k]."""

    numbers: Tensor
    shape: torch.Size
    x: Tensor
    value: Tensor
    gradient: Tensor
    stuck: Tensor
    pairs: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)

    @classmethod
    def begin(cls, objective: Objective, start: Tensor) -> _State:
        numbers = torch.arange(len(start))
        value, gradient = _evaluate(objective, start.flatten(1), start.shape[1:], numbers)
        stuck = torch.zeros(len(start), dtype=torch.bool)
        return cls(
            numbers=numbers, shape=start.shape[1:], x=start.flatten(1), value=value, gradient=gradient, stuck=stuck
        )

    def only(self, kept: Tensor) -> _State:
        return _State(
            numbers=self.numbers[kept],
            shape=self.shape,
            x=self.x[kept],
            value=self.value[kept],
            gradient=self.gradient[kept],
            stuck=self.stuck[kept],
            pairs=[(s[kept], y[kept], rho[kept]) for s, y, rho in self.pairs],
        )

    def step(self, objective: Objective, history: int) -> tuple[int, int]:
        """One step of all; returns the evaluations of all problems together, and the most of any one."""
        direction = self._direction()
        slope = (direction * self.gradient).sum(1)
        uphill = slope >= 0
        direction = torch.where(uphill[:, None], -self.gradient, direction)
        slope = torch.where(uphill, -self.gradient.square().sum(1), slope)
        length = torch.ones_like(slope) if self.pairs else self.value / -slope.clamp_max(-1e-300)
        x, value, gradient = self.x.clone(), self.value.clone(), self.gradient.clone()
        left, spent, tries = torch.arange(len(x)), 0, 0
        while len(left) and tries < TRIES:
            tried = self.x[left] + length[left, None] * direction[left]
            new, slopes = _evaluate(objective, tried, self.shape, self.numbers[left])
            spent, tries = spent + len(left), tries + 1
            good = new <= self.value[left] + DECREASE * length[left] * slope[left]
            x[left[good]], value[left[good]], gradient[left[good]] = tried[good], new[good], slopes[good]
            rise = new - self.value[left] - length[left] * slope[left]
            best = (-0.5 * slope[left] * length[left] / rise.clamp_min(1e-300)).clamp(0.1, 0.5).nan_to_num(0.1)
            length[left] = length[left] * best
            left = left[~good]
        self.stuck[left] = True
        moved, change = x - self.x, gradient - self.gradient
        bend = (moved * change).sum(1)
        fine = bend > 1e-12 * change.square().sum(1)
        self.pairs.append((moved, change, torch.where(fine, 1 / bend.where(fine, torch.ones_like(bend)), 0.0)))
        del self.pairs[:-history]
        self.x, self.value, self.gradient = x, value, gradient
        return spent, tries

    def _direction(self) -> Tensor:
        """The two loops over the pairs; those without curvature (rho = 0) change nothing."""
        q = self.gradient.clone()
        parts = []
        for s, y, rho in reversed(self.pairs):
            part = rho * (s * q).sum(1)
            q = q - part[:, None] * y
            parts.append(part)
        if self.pairs:
            _, y, rho = self.pairs[-1]
            q = q * torch.where(rho > 0, 1 / (rho * y.square().sum(1)).clamp_min(1e-300), 1.0)[:, None]
        for (s, y, rho), part in zip(self.pairs, reversed(parts)):
            q = q + (part - rho * (y * q).sum(1))[:, None] * s
        return -q


def _evaluate(objective: Objective, flat: Tensor, shape: torch.Size, numbers: Tensor) -> tuple[Tensor, Tensor]:
    x = flat.reshape(-1, *shape).requires_grad_()
    with torch.enable_grad():
        value = objective(x, numbers)
    (gradient,) = torch.autograd.grad(value.sum(), [x])
    return value.detach(), gradient.flatten(1)
