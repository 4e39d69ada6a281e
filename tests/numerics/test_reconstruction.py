"""The reconstruction bound: known values, limits, and optimal tests that attain it."""

from __future__ import annotations

import math

import pytest
import torch

from gradiometer.core import BadConfig, derive
from gradiometer.numerics.accounting import gaussian_delta
from gradiometer.numerics.reconstruction import reconstruction_bound, sampled_reconstruction_bound


def test_known_values() -> None:
    """kappa = 1/10 at z = 1/2, 1, 2, 4, and a fair coin at z = 1: Phi(1)."""
    expected = {0.5: 0.7638, 1.0: 0.3891, 2.0: 0.2172, 4.0: 0.1511}
    for z, gamma in expected.items():
        assert reconstruction_bound(0.1, z) == pytest.approx(gamma, abs=1e-4)
    assert reconstruction_bound(0.5, 1.0) == pytest.approx(0.8413, abs=1e-4)


def test_limits() -> None:
    assert reconstruction_bound(0.1, 1.0, steps=0) == pytest.approx(0.1)
    assert reconstruction_bound(0.1, 0.0) == 1.0
    assert reconstruction_bound(0.1, 1e9) == pytest.approx(0.1, rel=1e-6)
    assert reconstruction_bound(0.1, 2.0, steps=4) == pytest.approx(reconstruction_bound(0.1, 1.0))


@pytest.mark.parametrize("z", [0.5, 1.0, 3.0])
def test_consistent_with_epsilon_and_delta(z: float) -> None:
    """(epsilon, delta)-privacy allows at most kappa e^epsilon + delta, for every epsilon; the bound is the least of these."""
    allowed = [0.1 * math.exp(e) + gaussian_delta(e, 1 / z) for e in torch.linspace(0, 12, 2001).tolist()]
    assert reconstruction_bound(0.1, z) == pytest.approx(min(allowed), rel=1e-3)


def test_two_opposite_candidates_attain_it() -> None:
    """A fair coin between +C and -C is told with probability Phi(1 / z) by the sign."""
    noise = torch.randn(200_000, generator=derive(0))
    assert float((1 + 1.0 * noise > 0).float().mean()) == pytest.approx(reconstruction_bound(0.5, 1.0), abs=0.005)


@pytest.mark.parametrize(("z", "steps"), [(1.0, 1), (2.0, 3)])
def test_sampled_bound_meets_the_closed_form_and_falls_with_the_rate(z: float, steps: int) -> None:
    def at(rate: float) -> float:
        return sampled_reconstruction_bound(0.1, z, rate, steps, rng=derive(1))

    assert at(1.0) == pytest.approx(reconstruction_bound(0.1, z, steps), abs=0.01)
    assert at(1.0) > at(0.5) > at(0.1) > 0.09
    assert at(1e-6) == pytest.approx(0.1, abs=0.006)


def test_sampled_bound_of_one_step_by_hand() -> None:
    """The likelihood ratio rises with x: the event is x > t, and its mass (1 - q) kappa + q gamma."""
    expected = 0.7 * 0.1 + 0.3 * reconstruction_bound(0.1, 1.0)
    assert sampled_reconstruction_bound(0.1, 1.0, 0.3, 1, rng=derive(2)) == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize("bad", [(0.0, 1.0, 1.0, 1), (1.0, 1.0, 1.0, 1), (0.1, -1.0, 1.0, 1), (0.1, 1.0, 0.0, 1), (0.1, 1.0, 1.0, -1), (0.1, 0.0, 0.5, 1)])  # fmt: skip
def test_arguments_out_of_range(bad: tuple[float, float, float, int]) -> None:
    with pytest.raises(BadConfig):
        sampled_reconstruction_bound(*bad, rng=derive(0), draws=10)
