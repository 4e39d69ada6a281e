"""The closed form for "is the class present?" against known values and against simulation."""

from __future__ import annotations

import math

import pytest
import torch

from gradiometer.core import derive
from gradiometer.numerics.presence import (
    best_reading,
    count_deviation,
    presence_error,
    presence_posterior,
    presence_threshold,
)


def test_known_values() -> None:
    # s = 1/B: Phi(-1/2) = 30.85 % (the value of the design note); four rounds halve the deviation: Phi(-1) = 15.87 %.
    assert presence_error(count_deviation(16, 1 / 16)) == pytest.approx(0.308538, abs=1e-6)
    assert presence_error(count_deviation(16, 1 / 16, rounds=4)) == pytest.approx(0.158655, abs=1e-6)
    assert presence_error(0.0) == 0.0
    assert presence_error(1e6) == pytest.approx(0.5, abs=1e-3)
    assert presence_threshold(0.3) == 0.5


@pytest.mark.parametrize("prior", [0.5, 0.2, 0.9])
@pytest.mark.parametrize("deviation", [0.3, 1.0])
@pytest.mark.parametrize("count", [1, 3])
def test_the_error_rate_is_that_of_simulated_decisions(prior: float, deviation: float, count: int) -> None:
    rng, n = derive(3), 40_000
    truth = count * (torch.rand(n, generator=rng) < prior)
    seen = truth + deviation * torch.randn(n, generator=rng)
    wrong = ((seen > presence_threshold(deviation, prior)) != (truth > 0)).float().mean()
    assert presence_error(deviation, prior, count) == pytest.approx(float(wrong), abs=0.01)


def test_the_threshold_is_where_the_posterior_crosses_one_half_and_no_other_errs_less() -> None:
    for prior, deviation in [(0.3, 0.4), (0.7, 1.1)]:
        border = presence_threshold(deviation, prior)
        assert presence_posterior(border, deviation, prior) == pytest.approx(0.5)
        assert presence_posterior(border + 1, deviation, prior) > 0.5
        best = presence_error(deviation, prior)

        def error(threshold: float, prior: float = prior, deviation: float = deviation) -> float:
            tail = 0.5 * math.erfc(threshold / deviation / math.sqrt(2))
            return (1 - prior) * tail + prior * 0.5 * math.erfc((1 - threshold) / deviation / math.sqrt(2))

        assert best == pytest.approx(error(border))
        assert all(error(border + shift) > best for shift in (-0.2, 0.2))


@pytest.mark.parametrize("prior", [0.5, 0.1, 0.9])
def test_a_case_may_vary_more_than_its_absence(prior: float) -> None:
    rng, n, still, case = derive(4), 40_000, 0.2, 0.5
    truth = (torch.rand(n, generator=rng) < prior).float()
    seen = truth + torch.where(truth > 0, case, still) * torch.randn(n, generator=rng)
    border = presence_threshold(still, prior, case)
    wrong = ((seen > border) != (truth > 0)).float().mean()
    assert presence_error(still, prior, with_case=case) == pytest.approx(float(wrong), abs=0.01)
    if border > -math.inf:
        assert presence_posterior(border, still, prior, case) == pytest.approx(0.5)
    assert presence_threshold(still, prior, still) == pytest.approx(presence_threshold(still, prior))


def test_a_row_of_features_averages_the_noise_of_its_entries() -> None:
    # A constant input of length 1 + 24: the deviation falls from B s to B s / 5.
    inputs, chances = torch.ones(50, 25).double(), torch.full((50, 1), 0.1).double()
    noise = torch.eye(25).double() * 0.1**2
    reading = best_reading(inputs, chances * inputs, 8, noise)
    assert reading.deviation == pytest.approx(8 * 0.1 / 5, rel=1e-6)
    assert reading.with_case == pytest.approx(reading.deviation)
    alone = best_reading(inputs[:, :1], chances, 8, noise[:1, :1])
    assert alone.deviation == pytest.approx(8 * 0.1, rel=1e-6)
    assert alone.level == pytest.approx(0.1)
