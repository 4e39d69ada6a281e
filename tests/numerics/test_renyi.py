"""Composition over subsampled steps: against closed forms, integer-order binomials, dp-accounting and Opacus."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from gradiometer.core import BadConfig
from gradiometer.numerics.accounting import composed_epsilon, gaussian_epsilon, noise_for
from gradiometer.numerics.flower_privacy import flower_local_privacy
from gradiometer.numerics.renyi import ORDERS, renyi_divergence, renyi_epsilon

CASES = [(0.01, 1.0, 1000), (0.05, 0.8, 200), (0.2, 3.0, 100), (0.5, 6.0, 40)]
"""Sampling rate, noise multiplier, steps."""


@pytest.mark.parametrize(("z", "rate"), [(0.5, 0.01), (1.0, 0.1), (2.0, 0.5), (8.0, 0.9), (1.0, 1.0)])
def test_whole_orders_are_the_binomial_sum(z: float, rate: float) -> None:
    """A_a = sum_k C(a, k) (1 - q)^(a - k) q^k exp((k^2 - k) / (2 z^2)) (Mironov et al., section 3.3)."""
    for order, found in zip((2, 5, 17, 64), renyi_divergence(z, rate, (2.0, 5.0, 17.0, 64.0))):
        terms = [
            math.lgamma(order + 1) - math.lgamma(k + 1) - math.lgamma(order - k + 1)
            + ((order - k) * math.log1p(-rate) if k < order else 0.0) + k * math.log(rate) + (k * k - k) / (2 * z * z)
            for k in range(order + 1) if rate < 1 or k == order
        ]  # fmt: skip
        expected = float(torch.logsumexp(torch.tensor(terms, dtype=torch.float64), 0)) / (order - 1)
        assert float(found) == pytest.approx(expected, rel=1e-9, abs=1e-13)


@pytest.mark.parametrize("order", [1.1, 1.7, 3.5, 12.5])
def test_fractional_orders_are_the_integral(order: float) -> None:
    """By adaptive quadrature, at settings where the published series for fractional orders does not converge."""

    def integrand(x: float) -> float:
        ratio = 0.95 + 0.05 * math.exp((2 * x - 1) / (2 * 0.8**2))
        return norm.pdf(x, scale=0.8) * ratio**order

    moment, _ = quad(integrand, -12, order + 12, limit=500, epsabs=0, points=[0, 1, order])
    found = float(renyi_divergence(0.8, 0.05, (order,))[0])
    assert found == pytest.approx(math.log(moment) / (order - 1), rel=1e-8)


def test_upper_bound_of_the_exact_gaussian() -> None:
    """Without subsampling Rényi lies above the exact figure, by little."""
    for z, steps in ((1.0, 1), (4.0, 10), (20.0, 300)):
        exact = composed_epsilon(z, steps=steps)
        assert exact == gaussian_epsilon(math.sqrt(steps) / z, 1e-5)
        assert exact < renyi_epsilon(z, 1.0, steps, 1e-5) < 1.15 * exact


def test_limits_and_directions() -> None:
    assert composed_epsilon(1.0, rate=0.1, steps=0) == 0.0
    assert composed_epsilon(0.0, rate=0.1) == math.inf
    base = composed_epsilon(1.0, rate=0.1, steps=10)
    assert base < composed_epsilon(1.0, rate=0.2, steps=10)
    assert base < composed_epsilon(1.0, rate=0.1, steps=20)
    assert base < composed_epsilon(0.9, rate=0.1, steps=10)
    assert base < composed_epsilon(1.0, rate=0.1, steps=10, delta=1e-6)
    assert composed_epsilon(0.05, rate=0.1, steps=10) == composed_epsilon(0.05, steps=10)
    assert composed_epsilon(0.15, rate=0.1, steps=10) < composed_epsilon(0.15, steps=10)
    assert composed_epsilon(1.0, rate=1 - 1e-9, steps=10) <= composed_epsilon(1.0, steps=10)
    assert renyi_epsilon(1.0, 1 - 1e-9, 10, 1e-5) == pytest.approx(renyi_epsilon(1.0, 1.0, 10, 1e-5), rel=1e-6)


@pytest.mark.parametrize(("rate", "steps"), [(1.0, 1), (1.0, 50), (0.02, 500)])
def test_noise_for_an_epsilon(rate: float, steps: int) -> None:
    noise = noise_for(3.0, rate=rate, steps=steps)
    assert 2.99 < composed_epsilon(noise, rate=rate, steps=steps) <= 3.0


@pytest.mark.parametrize(
    "bad", [{"noise_multiplier": -1.0}, {"rate": 0.0}, {"rate": 1.1}, {"delta": 0.0}, {"delta": 1.0}, {"steps": -1}]
)
def test_arguments_out_of_range(bad: dict[str, float]) -> None:
    with pytest.raises(BadConfig):
        composed_epsilon(**{"noise_multiplier": 1.0, **bad})  # type: ignore[arg-type]
    with pytest.raises(BadConfig):
        noise_for(0.0)


def test_flower_local_privacy_by_hand() -> None:
    """sigma = s sqrt(2 ln(1.25 / delta)) / epsilon; two updates in a ball of radius C are 2 C apart."""
    told = flower_local_privacy(clipping_norm=1.0, sensitivity=2.0, epsilon=1.0, delta=1e-5, rounds=10)
    assert told.noise == pytest.approx(2 * math.sqrt(2 * math.log(1.25e5)))
    assert told.one_round == gaussian_epsilon(2.0 / told.noise, 1e-5)
    assert told.composed == pytest.approx(gaussian_epsilon(math.sqrt(10) * 2.0 / told.noise, 1e-5), rel=1e-9)
    assert told.one_round < 1.0 < told.composed < 10.0
    careless = flower_local_privacy(clipping_norm=1.0, sensitivity=1.0, epsilon=1.0, delta=1e-5, rounds=10)
    assert careless.one_round > 1.0, "a sensitivity of C states half of what is spent"
    large = flower_local_privacy(clipping_norm=1.0, sensitivity=2.0, epsilon=50.0, delta=1e-5, rounds=1)
    assert large.one_round > 50.0, "the classical formula is proven below 1 only"
    for bad in ({"sensitivity": 0.0}, {"clipping_norm": 0.0}, {"epsilon": 0.0}, {"delta": 1.0}, {"rounds": 0}):
        settings = {"clipping_norm": 1.0, "sensitivity": 1.0, "epsilon": 1.0, "delta": 1e-5, "rounds": 1, **bad}
        with pytest.raises(BadConfig):
            flower_local_privacy(**settings)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("rate", "z", "steps"), CASES)
def test_own_accountant_and_dp_accounting_agree(rate: float, z: float, steps: int) -> None:
    """Rényi at whole orders to 1e-6; at others their series is looser, by under 1 %. PLD lies below, by under a quarter."""
    accounting = pytest.importorskip("dp_accounting")
    rdp = pytest.importorskip("dp_accounting.rdp")

    def theirs(orders: tuple[float, ...]) -> float:
        accountant = rdp.RdpAccountant(orders=list(orders))
        accountant.compose(accounting.PoissonSampledDpEvent(rate, accounting.GaussianDpEvent(z)), steps)
        return float(accountant.get_epsilon(1e-5))

    whole = tuple(map(float, range(2, 64)))
    assert renyi_epsilon(z, rate, steps, 1e-5, whole) == pytest.approx(theirs(whole), rel=1e-6)
    own = composed_epsilon(z, rate=rate, steps=steps)
    assert 0.99 * theirs(ORDERS) < own < (1 + 1e-6) * theirs(ORDERS)
    assert 0.75 * own < composed_epsilon(z, rate=rate, steps=steps, accountant="pld") < own


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("rate", "z", "steps"), CASES)
def test_pld_and_prv_agree_within_two_percent(rate: float, z: float, steps: int) -> None:
    pytest.importorskip("dp_accounting")
    theirs = pytest.importorskip("opacus.accountants").PRVAccountant()
    theirs.history = [(z, rate, steps)]
    own = composed_epsilon(z, rate=rate, steps=steps, accountant="pld")
    assert own == pytest.approx(theirs.get_epsilon(1e-5), rel=0.02)
