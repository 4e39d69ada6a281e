"""L-BFGS on many problems at once: it finds minima, and no problem notices the others."""

from __future__ import annotations

import torch
from torch import Tensor

from gradiometer.core import derive
from gradiometer.numerics.lbfgs import descend


def slow(before: Tensor, now: Tensor) -> Tensor:
    return now > 0.99 * before


def test_it_finds_the_minimum_of_rosenbrocks_valley_from_several_starts() -> None:
    def valley(x: Tensor, numbers: Tensor) -> Tensor:
        return (1 - x[:, 0]).square() + 100 * (x[:, 1] - x[:, 0].square()).square()

    start = torch.tensor([[-1.2, 1.0], [2.0, -1.0], [0.0, 3.0]]).double()
    found = descend(valley, start, evaluations=300, finished=slow)
    assert torch.allclose(found.x, torch.ones(3, 2).double(), atol=1e-5)
    assert float(found.value.max()) < 1e-10


def test_problems_are_solved_as_if_they_were_alone() -> None:
    scales = torch.logspace(0, 2, 20, dtype=torch.float64)
    aims = torch.randn(4, 20, generator=derive(1), dtype=torch.float64)

    def bowl(x: Tensor, numbers: Tensor) -> Tensor:
        return (scales * (x.flatten(1) - aims[numbers])).square().sum(1)

    start = torch.randn(4, 4, 5, generator=derive(2), dtype=torch.float64)

    def solved(before: Tensor, now: Tensor) -> Tensor:
        return now < 1e-20

    together = descend(bowl, start, evaluations=400, finished=solved)
    assert torch.allclose(together.x.flatten(1), aims, atol=1e-6)
    for i in range(4):
        alone = descend(
            lambda x, _, i=i: bowl(x, torch.tensor([i])), start[i : i + 1], evaluations=400, finished=solved
        )
        assert torch.allclose(alone.x[0], together.x[i], atol=1e-9)


def test_the_budget_is_an_upper_limit_and_a_flat_problem_ends_at_once() -> None:
    def flat(x: Tensor, numbers: Tensor) -> Tensor:
        return 0 * x.flatten(1).sum(1) + 1

    assert descend(flat, torch.zeros(2, 3), evaluations=50, finished=slow).evaluations <= 100

    def steep(x: Tensor, numbers: Tensor) -> Tensor:
        return x.flatten(1).abs().pow(1.5).sum(1)

    used = descend(steep, torch.ones(1, 3), evaluations=7, finished=slow).evaluations
    assert used <= 7 + 8
