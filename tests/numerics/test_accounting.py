"""The Gaussian mechanism against numbers that are known or integrated independently."""

from __future__ import annotations

import math

import pytest
from scipy.integrate import quad
from scipy.stats import norm

from gradiometer.numerics.accounting import gaussian_delta, gaussian_epsilon


def hockey_stick(epsilon: float, ratio: float) -> float:
    """delta = integral of max(0, p(x) - e^epsilon q(x)), with p = N(ratio, 1) and q = N(0, 1), from where it is positive."""
    start = epsilon / ratio + ratio / 2
    value, _ = quad(lambda x: norm.pdf(x - ratio) - math.exp(epsilon) * norm.pdf(x), start, start + 40, epsabs=1e-14)
    return value


@pytest.mark.parametrize(("epsilon", "ratio"), [(0.1, 0.05), (0.5, 0.5), (1.0, 1.0), (3.0, 1.0), (8.0, 3.0)])
def test_delta_is_the_hockey_stick_divergence(epsilon: float, ratio: float) -> None:
    assert gaussian_delta(epsilon, ratio) == pytest.approx(hockey_stick(epsilon, ratio), rel=1e-6, abs=1e-13)


def test_known_values() -> None:
    """Total variation at epsilon 0; sigma = 3.73 at (1, 1e-5); mu = 1 is (4.38, 1e-5)-private (Gaussian DP)."""
    assert gaussian_delta(0.0, 1.0) == pytest.approx(2 * norm.cdf(0.5) - 1)
    assert gaussian_epsilon(1 / 3.7306, 1e-5) == pytest.approx(1.0, abs=2e-4)
    assert gaussian_epsilon(1.0, 1e-5) == pytest.approx(4.377, abs=2e-3)


@pytest.mark.parametrize("ratio", [1e-3, 0.1, 1.0, 10.0, 1000.0])
@pytest.mark.parametrize("delta", [1e-8, 1e-5, 1e-2])
def test_epsilon_inverts_delta(ratio: float, delta: float) -> None:
    epsilon = gaussian_epsilon(ratio, delta)
    assert gaussian_delta(epsilon, ratio) <= delta
    if epsilon:
        assert gaussian_delta(epsilon * (1 - 1e-6), ratio) > delta


def test_limits() -> None:
    assert gaussian_epsilon(0.0, 1e-5) == 0.0
    assert gaussian_epsilon(math.inf, 1e-5) == math.inf
    assert gaussian_epsilon(1e-7, 1e-5) == 0.0
    assert gaussian_epsilon(2.0, 1e-5) > gaussian_epsilon(1.0, 1e-5) > gaussian_epsilon(1.0, 1e-4)


def test_below_the_classical_bound() -> None:
    """The analytic mechanism needs less noise than sigma = sqrt(2 ln(1.25 / delta)) / epsilon, proven for epsilon < 1."""
    for epsilon in (0.1, 0.5, 0.9):
        classical = math.sqrt(2 * math.log(1.25 / 1e-5)) / epsilon
        assert gaussian_epsilon(1 / classical, 1e-5) < epsilon
