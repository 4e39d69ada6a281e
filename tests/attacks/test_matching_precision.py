"""Matching in mixed precision: it only descends in it; everything that is compared or claimed is a 32-bit score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gradiometer.attacks import Matching
from gradiometer.attacks.matching import LBFGS, Adam
from gradiometer.attacks.matching.race import race
from gradiometer.attacks.matching.side_by_side import Here
from gradiometer.attacks.matching.trial import LAST_PHASE, Budget, Trial
from gradiometer.core import Client, Data, Recipe, Threat, Update, derive, play
from gradiometer.models import lenet
from gradiometer.numerics.engine import Point

MIXED = Matching(iterations=20, precision="bfloat16")


@pytest.fixture
def update(digits_data: Data) -> Update:
    client = Client(model=lenet((1, 8, 8), 10), layout=digits_data.layout, recipe=Recipe())
    return play(client, digits_data.private.take(slice(0, 1)), rng=derive(0), threat=Threat(labels=True))


@pytest.mark.parametrize("halving", [None, 4])
def test_scores_are_in_full_precision(update: Update, halving: int | None) -> None:
    attack = replace(MIXED, restarts=2, halving=halving)
    guess = attack.run(update, derive(1))
    problem = attack._problem(update, derive(1))[0]
    again = problem.within(problem.pixels("gray", derive(2))).objective([guess["x"]])
    assert guess.notes["precision"].startswith("bfloat16 before the last phase")
    assert guess.objective == pytest.approx(again.value, rel=1e-5)
    assert not again.mixed


def test_a_line_search_compares_all_its_points(update: Update) -> None:
    mixed, single = (
        replace(MIXED, precision=kind, optimizer=LBFGS()).run(update, derive(1)) for kind in ("bfloat16", "float32")
    )
    assert torch.equal(mixed["x"], single["x"])


def test_64_bits_on_request(update: Update) -> None:
    guess = replace(MIXED, precision="float64").run(update, derive(1))
    single = replace(MIXED, precision="float32").run(update, derive(1))
    assert (guess.notes["precision"], single.notes["precision"]) == ("float64", "float32")
    assert guess["x"].dtype == torch.float32, "the claim is in the model's type"
    assert guess.objective == pytest.approx(single.objective, rel=1e-2)


def descended(budget: Budget, log: list[bool]) -> Trial:
    """A start whose objective is 2 + |x|^2, and what was asked in mixed precision; such points claim to be better by one."""

    def objective(unknowns: Sequence[Tensor], consensus: Tensor | None, mixed: bool) -> Point:
        log.append(mixed)
        value = 2 + float(unknowns[0].square().sum()) - mixed
        return Point(value=value, distance=value, gradient=[2 * unknowns[0]], mixed=mixed)

    trial = Trial(
        unknowns=[torch.ones(3)],
        objective=objective,
        linearize=lambda unknowns: pytest.fail("nothing is linearized"),
        project=list,
        budget=budget,
        rng=derive(0),
    )
    race([trial], Adam(), Here([trial], compare=False))
    return trial


def test_the_last_phase_is_in_full_precision() -> None:
    log: list[bool] = []
    trial = descended(Budget(evaluations=20), log)
    assert log == [i < LAST_PHASE * 20 for i in range(1, 21)]
    assert trial.value >= 2


def test_a_plateau_in_mixed_precision_ends_that_phase_only() -> None:
    log: list[bool] = []
    trial = descended(Budget(evaluations=10**6, patience=30), log)
    assert trial.stopped == "plateau"
    assert True in log
    assert log == sorted(log, reverse=True)
    assert log.count(False) >= 30


def test_a_start_that_ends_in_mixed_precision_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[bool] = []
    monkeypatch.setattr("gradiometer.attacks.matching.trial.LAST_PHASE", 2.0)
    trial = descended(Budget(evaluations=5), log)
    assert log == [True] * 5 + [False]
    assert trial.value == 2 + float(trial.best[0].square().sum())
