"""One start of a matching attack, ready to descend, for benchmarks that look between its iterations."""

from __future__ import annotations

import torch

from gradiometer.attacks.matching import Matching
from gradiometer.attacks.matching.problem import Problem
from gradiometer.attacks.matching.search import entered
from gradiometer.attacks.matching.trial import Budget, Trial
from gradiometer.core import Update


def begun(
    attack: Matching, update: Update, seed: torch.Generator, rng: torch.Generator, evaluations: int = 10**6
) -> tuple[Problem, Trial]:
    """The attack's problem in the space of its first stage, random parts drawn from `seed`, and the first point there, drawn from `rng`."""
    problem, _ = attack._problem(update, seed)
    stage = attack._stages(problem, None)[0]
    found = entered(problem, stage, Budget(evaluations=evaluations), rng, None, attack._between)
    return problem.within(found.space), found.trial
