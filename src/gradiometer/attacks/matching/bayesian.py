"""TuRBO: Bayesian search in a trust region, for few evaluations and derivatives that lead nowhere."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.numerics.gaussian_process import GaussianProcess

from .trial import Trial

WIDEST, NARROWEST, FIRST = 1.6, 0.5**7, 0.8
"""Sides of the trust region, of a box whose side is 1."""
PROOFS, TRIES = 3, 5
"""So many batches in a row that help double the region, so many that do not halve it."""


@dataclass(frozen=True, kw_only=True)
class TuRBO:
    """Evaluates where samples of a Gaussian process of the objective are least, within a box around the best point so far.

    The box grows while batches help and shrinks while they do not; below its least size the search begins anew elsewhere.

    Args:
        box: entries of the unknown are searched in [-box, box].
        begin: points before the first model. batch: points between two models.
        candidates: among which a batch is chosen.
        remembered: the latest points of which the model is made.

    References:
        Eriksson, Pearce, Gardner, Turner, Poloczek, "Scalable Global Optimization via Local Bayesian Optimization", 2019, arXiv:1910.01739.
    """

    box: float = 2.0
    begin: int = 64
    batch: int = 10
    candidates: int = 500
    remembered: int = 200

    def descend(self, trial: Trial) -> Iterator[None]:
        """See `Descent`."""
        like = trial.unknowns
        sizes = [value.numel() for value in like]

        def value(point: Tensor) -> float:
            parts = (self.box * (2 * point - 1)).split(sizes)
            unknowns = trial.project([part.to(one).view(one.shape) for part, one in zip(parts, like)])
            found = trial.evaluate(unknowns).value
            if found <= trial.value:
                trial.unknowns = unknowns
            return found

        while True:
            x = torch.rand(self.begin, sum(sizes), generator=trial.rng, dtype=torch.float64)
            y = torch.tensor([value(one) for one in x], dtype=torch.float64)
            side, helped = FIRST, 0
            while side >= NARROWEST:
                chosen = self._chosen(x[-self.remembered :], y[-self.remembered :], x[y.argmin()], side, trial.rng)
                found = torch.tensor([value(one) for one in chosen], dtype=torch.float64)
                better = bool(found.min() < y.min() - 1e-3 * y.min().abs())
                helped = max(helped, 0) + 1 if better else min(helped, 0) - 1
                if helped == PROOFS:
                    side, helped = min(2 * side, WIDEST), 0
                elif helped == -TRIES:
                    side, helped = side / 2, 0
                x, y = torch.cat([x, chosen]), torch.cat([y, found])
                yield

    def _chosen(self, x: Tensor, y: Tensor, center: Tensor, side: float, rng: torch.Generator) -> Tensor:
        """The next batch: for each point the least of one sample of the process at all candidates."""
        process = GaussianProcess.fitted(x, (y - y.mean()) / y.std().clamp_min(1e-12))
        entries = len(center)
        shape = process.lengths / process.lengths.log().mean().exp()
        low, high = ((center + sign * shape * side / 2).clamp(0, 1) for sign in (-1, 1))
        drawn = low + (high - low) * torch.rand(self.candidates, entries, generator=rng, dtype=x.dtype)
        # In many dimensions only some entries move at a time.
        moved = torch.rand(drawn.shape, generator=rng) < min(1.0, 20 / entries)
        moved[torch.arange(len(drawn)), torch.randint(entries, (len(drawn),), generator=rng)] = True
        candidates = torch.where(moved, drawn, center)
        picked: list[Tensor] = []
        for sample in process.samples(candidates, self.batch, rng):
            sample[[int(i) for i in picked]] = math.inf
            picked.append(sample.argmin())
        return candidates[torch.stack(picked)]
