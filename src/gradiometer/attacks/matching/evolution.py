"""CMA-ES: descends without derivatives, for generators whose derivatives lead nowhere."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gradiometer.core import Unsupported

from .trial import Trial


@dataclass(frozen=True, kw_only=True)
class CMA:
    """Draws candidates from a normal distribution, whose mean and covariance move towards the better half of them.

    Derivatives are computed by the engine all the same, and not used: an evaluation costs what it costs Adam.

    Args:
        population: candidates a generation; None: 4 + 3 log(entries).
        sigma: standard deviation of the first generation, in units of the unknown.

    References:
        Hansen, Ostermeier, "Completely Derandomized Self-Adaptation in Evolution Strategies", 2001.
        Hansen, "The CMA Evolution Strategy: A Tutorial", 2016, arXiv:1604.00772.
    """

    population: int | None = None
    sigma: float = 0.5

    def descend(self, trial: Trial) -> Iterator[None]:
        """See `Descent`."""
        sizes = [value.numel() for value in trial.unknowns]
        like = trial.unknowns
        strategy = _strategy(torch.cat([value.reshape(-1) for value in like]), self.sigma, self.population, trial.rng)

        def unflat(vector: Any) -> list[torch.Tensor]:
            parts = torch.as_tensor(np.asarray(vector)).split(sizes)
            return trial.project([part.to(value).view(value.shape) for part, value in zip(parts, like)])

        while not strategy.stop():
            candidates = strategy.ask()
            strategy.tell(candidates, [trial.evaluate(unflat(one)).value for one in candidates])
            trial.unknowns = unflat(strategy.mean)
            yield
        trial.stop("converged")


def _strategy(first: torch.Tensor, sigma: float, population: int | None, rng: torch.Generator) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it misses its plotting library
            import cma
    except ImportError as error:
        raise Unsupported("CMA-ES needs the package cma", fix='pip install "gradiometer[cma]"') from error

    def randn(*shape: int) -> Any:
        return torch.randn(shape, generator=rng, dtype=torch.float64).numpy()

    options: dict[str, Any] = {"randn": randn, "seed": math.nan, "verbose": -9}  # nan: global randomness is left alone
    if population is not None:
        options["popsize"] = population
    return cma.CMAEvolutionStrategy(first.detach().double().cpu().numpy(), sigma, options)
