"""One input through a linear layer, several inputs through one, and the known function before it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gradiometer.core import derive
from gradiometer.numerics.inversion import invert
from gradiometer.numerics.linear import (
    agreeing_rows,
    extreme_rows,
    rank_one_input,
    rank_one_lines,
    ratio_row,
    without_offset,
)


def gauss(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=derive(seed), dtype=torch.float64)


def test_one_input_is_recovered_to_rounding() -> None:
    x, delta = gauss(30), gauss(12, seed=1)
    weight = delta[:, None] * x
    assert torch.allclose(ratio_row(weight, delta), x, atol=1e-10)
    assert torch.allclose(rank_one_input(weight, delta), x, atol=1e-10)


def test_noise_averages_over_rows_and_columns() -> None:
    x, delta = gauss(400).abs(), gauss(50, seed=1)
    weight, bias = delta[:, None] * x + 0.3 * gauss(50, 400, seed=2), delta + 0.3 * gauss(50, seed=3)
    plain = weight.T @ bias / (bias @ bias)

    def error(found: Tensor) -> float:
        return float((found - x).square().mean())

    assert error(rank_one_input(weight, bias)) < 0.7 * error(plain)
    assert error(plain) < 0.7 * error(ratio_row(weight, bias))


def test_variances_silence_the_entries_that_tell_nothing() -> None:
    x, delta = gauss(20), gauss(10, seed=1)
    joint = torch.cat([delta[:, None] * x, delta[:, None]], 1)
    variance = torch.full_like(joint, 1e-4)
    joint[3], variance[3] = 1e3, torch.inf
    found = rank_one_input(joint[:, :-1], joint[:, -1], variance)
    assert torch.allclose(found, x, atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 12, 30), (4, 30, 12)], ids=["wide", "tall"])
def test_many_lines_at_once_are_leading_singular_vectors(shape: tuple[int, ...]) -> None:
    joint = gauss(shape[0], shape[1], 1) * gauss(shape[0], 1, shape[2], seed=1) + 0.05 * gauss(*shape, seed=2)
    joint[3] = 0
    found, leading = rank_one_lines(joint), torch.linalg.svd(joint)[2][:, 0]
    assert torch.allclose((found * leading).sum(1).abs()[:3], torch.ones(3, dtype=torch.float64), atol=1e-12)
    assert (found[:3, -1] > 0).all()
    assert not found[3].any()


def test_a_dead_layer_gives_zeros() -> None:
    assert rank_one_input(torch.zeros(4, 6), torch.zeros(4)).tolist() == [0.0] * 6


def test_only_a_common_value_is_taken_for_zero() -> None:
    coarse = torch.tensor([0.3, 0.3, 0.3, 1.0, -2.0])
    assert without_offset(coarse).tolist() == [0.0, 0.0, 0.0, 1.0, -2.0]
    fine = gauss(100)
    assert torch.equal(without_offset(fine), fine)


def test_rows_of_one_example_agree_and_mixtures_do_not() -> None:
    x = gauss(3, 10).abs()
    share = torch.zeros(9, 3).double()
    share[:4, 0], share[4:6, 1] = gauss(4, seed=4), gauss(2, seed=5)
    share[6:] = gauss(3, 3, seed=6)
    ratios = share @ x / share.sum(1, keepdim=True)
    groups = agreeing_rows(ratios)
    assert [sorted(group.tolist()) for group in groups] == [[0, 1, 2, 3], [4, 5]]
    assert len(agreeing_rows(ratios, most=1)) == 1
    assert agreeing_rows(ratios[:0]) == []


def test_corners_are_found_among_their_mixtures() -> None:
    corners = gauss(4, 30).abs()
    weights = torch.rand(40, 4, generator=derive(8), dtype=torch.float64)
    rows = torch.cat([weights / weights.sum(1, keepdim=True) @ corners, corners])
    assert sorted(extreme_rows(rows, rows[:0], 9).tolist()) == [40, 41, 42, 43]
    assert sorted(extreme_rows(rows, corners[:2], 9).tolist()) == [42, 43]


def test_an_affine_map_is_inverted_in_one_step_and_a_monotone_one_in_a_few() -> None:
    matrix, shift, x = gauss(20, 12), gauss(20, seed=1), gauss(12, seed=2)
    start = torch.zeros(12).double()
    affine = invert(lambda v: matrix @ v + shift, matrix @ x + shift, start, derive(0), steps=1)
    assert torch.allclose(affine.x, x, atol=1e-8)
    assert affine.determined == pytest.approx(1.0)
    bent = invert(lambda v: torch.sigmoid(matrix @ v), torch.sigmoid(matrix @ x), start, derive(0))
    assert torch.allclose(bent.x, x, atol=1e-6)
    assert bent.residual < 1e-9


def test_a_map_that_loses_half_says_so() -> None:
    found = invert(lambda v: v[:32], gauss(32), torch.zeros(64).double(), derive(0))
    assert found.determined == pytest.approx(0.5, abs=0.15)
