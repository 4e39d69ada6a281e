"""LAMP's discrete moves: other orders of what was found so far, and at last other tokens, by the gradient and by how they read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.core import BadConfig, Update
from gradiometer.numerics.distances import TINY
from gradiometer.numerics.language import KneserNey, Language, LanguagePrior
from gradiometer.numerics.language.prior import Sentence

from ..matching.trial import Between, Trial
from .sentences import Sentences

Order = list[int]
STILL = 3
"""After so many calls in turn that change nothing, the last ones end."""


@dataclass(frozen=True, kw_only=True)
class Moves:
    """Every so often, tries other orders of the embeddings, and goes on from those e, with the nearest tokens t, of the least

        log distance(update of e, sent) + weight * surprise of t in nats a token.

    The logarithm leaves the word to language while nothing fits, and to the gradient once something does. The language model sorts
    what is tried; the update is simulated for the best. After the descent the tokens themselves take the place of e, and are exchanged
    as well as moved: only the right ones cause the update that was sent. Starts are compared by the updates of their sentences.

    Args:
        every: evaluations between two calls.
        begin: part of the budget before the first.
        tries: sentences that the language model sees, and `simulated`, of which the update is.
        last: calls after the descent, at most.
        nearest: so many tokens are offered to a place, those nearest to its embedding.
        weight: of the language model.
        language: None: the gradient alone judges; so it does where n-grams find no public sentences.
    """

    every: int = 25
    begin: float = 0.5
    tries: int = 200
    simulated: int = 24
    last: int = 20
    nearest: int = 8
    weight: float = 0.03
    language: LanguagePrior | None = KneserNey()

    def __post_init__(self) -> None:
        counts = {"every": self.every, "tries": self.tries, "simulated": self.simulated, "nearest": self.nearest}
        if problems := [f"{name} must be at least 1, got {n}" for name, n in counts.items() if n < 1]:
            raise BadConfig("Moves cannot run with these settings", problems=problems)

    def learned(self, update: Update) -> Language | None:
        """The language model, if there is one and there is what it learns from."""
        if self.language is None or (isinstance(self.language, KneserNey) and not update.knows("public")):
            return None
        return self.language.learned(update)

    def between(self, problem: Sentences) -> Between:
        """What interrupts the descent of this problem."""
        language = self.learned(problem.update)

        def change(trial: Trial) -> None:
            if trial.progress >= self.begin:
                z, *others = trial.unknowns
                for row in range(len(z)):
                    z = self._reordered(problem, language, z, others, row, trial.rng)
                trial.unknowns = [z, *others]

        def finish(trial: Trial) -> None:
            z, *others = trial.best
            ids, still = problem.nearest(z), 0
            for _ in range(self.last):
                before = ids
                for row in range(len(z)):
                    near = problem.near(z[row], self.nearest)
                    ids = self._exchanged(problem, language, ids, near, others, row, trial.rng)
                still = still + 1 if torch.equal(before, ids) else 0
                if still == STILL:
                    break
            trial.settle([problem.embeddings(ids).to(z), *others])

        return Between(every=self.every, change=change, finish=finish)

    def _reordered(
        self,
        problem: Sentences,
        language: Language | None,
        z: Tensor,
        others: list[Tensor],
        row: int,
        rng: torch.Generator,
    ) -> Tensor:
        """The embeddings after the best move of one sentence."""
        ids = problem.nearest(z)[row]
        tried = {tuple(order): ids[order].tolist() for order in self._orders(len(ids), problem.free, rng)}
        orders = [*tried]

        def moved(i: int) -> Tensor:
            found = z.clone()
            found[row] = z[row, list(orders[i])]
            return found

        return moved(self._best(problem, language, [*tried.values()], lambda i: [moved(i), *others]))

    def _exchanged(
        self,
        problem: Sentences,
        language: Language | None,
        ids: Tensor,
        near: Tensor,
        others: list[Tensor],
        row: int,
        rng: torch.Generator,
    ) -> Tensor:
        """The tokens after the best move of one sentence, or the best exchange of one token by one that is `near` or elsewhere in it."""
        tried = dict[Sentence, None]()
        for order in self._orders(len(ids[row]), problem.free, rng):
            tried[tuple(ids[row, order].tolist())] = None
            said, place = ids[row].tolist(), draw(problem.free, rng)
            offered = near[place].tolist() if draw(2, rng) else said[: problem.free]
            said[place] = offered[draw(len(offered), rng)]
            tried[tuple(said)] = None
        sentences = [*tried]

        def moved(i: int) -> Tensor:
            found = ids.clone()
            found[row] = torch.tensor(sentences[i])
            return found

        return moved(self._best(problem, language, sentences, lambda i: [problem.embeddings(moved(i)), *others]))

    def _orders(self, length: int, free: int, rng: torch.Generator) -> list[Order]:
        """Orders of which the first keeps all as it is; the last places stay where they are known."""
        drawn = [moved(free, rng) for _ in range(self.tries)]
        return [list(range(length)), *([*order, *range(free, length)] for order in drawn)]

    def _best(
        self,
        problem: Sentences,
        language: Language | None,
        said: Sequence[Sentence],
        unknowns: Callable[[int], list[Tensor]],
    ) -> int:
        """The number of the best sentence: of the first, and of those that the language model likes best."""
        surprise = torch.zeros(len(said), dtype=torch.float64)
        if language is not None:
            surprise = self.weight * language.surprise(said) / len(said[0])
        best, least = 0, math.inf
        for i in [0, *(1 + surprise[1:].argsort(stable=True)[: self.simulated]).tolist()]:
            distance = problem.engine.measure(problem.decode(unknowns(i)))
            if (value := math.log(max(distance, TINY)) + float(surprise[i])) < least:
                best, least = i, value
        return best


def moved(length: int, rng: torch.Generator) -> Order:
    """The order of so many places after one move: two swapped, one or a part put elsewhere, or all turned around."""
    return _MOVES[draw(len(_MOVES), rng)](list(range(length)), rng)


def draw(most: int, rng: torch.Generator) -> int:
    """A number from 0 to `most` - 1."""
    return int(torch.randint(most, (), generator=rng))


def _swapped(order: Order, rng: torch.Generator) -> Order:
    i, j = draw(len(order), rng), draw(len(order), rng)
    order[i], order[j] = order[j], order[i]
    return order


def _one_moved(order: Order, rng: torch.Generator) -> Order:
    one = order.pop(draw(len(order), rng))
    order.insert(draw(len(order) + 1, rng), one)
    return order


def _part_moved(order: Order, rng: torch.Generator) -> Order:
    a, b = sorted((draw(len(order), rng), draw(len(order), rng)))
    part, rest = order[a : b + 1], order[:a] + order[b + 1 :]
    at = draw(len(rest) + 1, rng)
    return rest[:at] + part + rest[at:]


def _rotated(order: Order, rng: torch.Generator) -> Order:
    at = draw(len(order), rng)
    return order[at:] + order[:at]


_MOVES: tuple[Callable[[Order, torch.Generator], Order], ...] = (_swapped, _one_moved, _part_moved, _rotated)
