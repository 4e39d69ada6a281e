"""LAMP's discrete moves: other orders of the tokens found so far, by the gradient and by how they read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.core import BadConfig, Update
from gradiometer.numerics.distances import TINY
from gradiometer.numerics.language import KneserNey, Language, LanguagePrior

from ..matching.trial import Between, Trial
from .sentences import Sentences


@dataclass(frozen=True, kw_only=True)
class Reorder:
    """Every so often, tries other orders of the embeddings and keeps the one of the least

        log distance(update of the reordered embeddings, sent) + weight * surprise of their tokens in nats a token.

    The logarithm leaves the word to language while no order fits, and to the gradient once one does. The language model sorts the orders;
    the update is simulated for the best of them.

    Args:
        every: evaluations between two calls.
        begin: part of the budget before the first.
        tries: orders that the language model sees, and `simulated`, of which the update is.
        weight: of the language model.
        language: None: the order is judged by the gradient alone.
    """

    every: int = 50
    begin: float = 0.1
    tries: int = 200
    simulated: int = 16
    weight: float = 0.2
    language: LanguagePrior | None = KneserNey()

    def __post_init__(self) -> None:
        counts = {"every": self.every, "tries": self.tries, "simulated": self.simulated}
        if problems := [f"{name} must be at least 1, got {n}" for name, n in counts.items() if n < 1]:
            raise BadConfig("Reorder cannot run with these settings", problems=problems)

    def between(self, problem: Sentences, language: Language | None) -> Between:
        """What interrupts the descent of this problem."""

        def change(trial: Trial) -> None:
            if trial.progress < self.begin:
                return
            for row in range(len(trial.unknowns[0])):
                trial.unknowns[0] = self._best(problem, language, trial, row)

        return Between(every=self.every, change=change)

    def learned(self, update: Update) -> Language | None:
        """The language model, if there is one and there is what it learns from."""
        if self.language is None or (isinstance(self.language, KneserNey) and not update.knows("public")):
            return None
        return self.language.learned(update)

    def _best(self, problem: Sentences, language: Language | None, trial: Trial, row: int) -> Tensor:
        z = trial.unknowns[0]
        ids = problem.nearest(z)[row]
        free = z.shape[1] - (problem.end is not None and len(z) == 1)
        orders = _orders(free, z.shape[1], self.tries, trial.rng)
        surprise = torch.zeros(len(orders), dtype=torch.float64)
        if language is not None:
            surprise = self.weight * language.surprise(ids[orders].tolist()) / z.shape[1]
        kept = torch.cat([torch.tensor([0]), 1 + surprise[1:].argsort(stable=True)[: self.simulated]])
        best, least = z, float("inf")
        for i in kept.tolist():
            tried = z.clone()
            tried[row] = z[row, orders[i]]
            distance = problem.engine.measure(problem.decode([tried, *trial.unknowns[1:]]))
            value = math.log(max(distance, TINY)) + float(surprise[i])
            if value < least:
                best, least = tried, value
        return best


def _orders(free: int, length: int, count: int, rng: torch.Generator) -> Tensor:
    """Distinct orders [n, length] of the first `free` places, the present one first."""
    found = {tuple(range(length))}
    for _ in range(count):
        move = _MOVES[_draw(len(_MOVES), rng)]
        order = move(list(range(free)), rng) if free > 1 else list(range(free))
        found.add((*order, *range(free, length)))
    present = tuple(range(length))
    return torch.tensor([present, *sorted(found - {present})])


def _draw(most: int, rng: torch.Generator) -> int:
    return int(torch.randint(most, (), generator=rng))


def _swapped(order: list[int], rng: torch.Generator) -> list[int]:
    i, j = _draw(len(order), rng), _draw(len(order), rng)
    order[i], order[j] = order[j], order[i]
    return order


def _moved(order: list[int], rng: torch.Generator) -> list[int]:
    one = order.pop(_draw(len(order), rng))
    order.insert(_draw(len(order) + 1, rng), one)
    return order


def _part_moved(order: list[int], rng: torch.Generator) -> list[int]:
    a, b = sorted((_draw(len(order), rng), _draw(len(order), rng)))
    part, rest = order[a : b + 1], order[:a] + order[b + 1 :]
    at = _draw(len(rest) + 1, rng)
    return rest[:at] + part + rest[at:]


def _rotated(order: list[int], rng: torch.Generator) -> list[int]:
    at = _draw(len(order), rng)
    return order[at:] + order[:at]


_MOVES: tuple[Callable[[list[int], torch.Generator], list[int]], ...] = (_swapped, _moved, _part_moved, _rotated)
