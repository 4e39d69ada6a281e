"""Intervals against published values, against scipy, and by simulation: does 95 % cover 95 %?"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gradiometer.core import BadInput, derive
from gradiometer.numerics.intervals import (
    clopper_pearson,
    cluster_bootstrap,
    clustered_rate,
    examples_needed,
    mean_bootstrap,
    median_interval,
    wilson,
)


@pytest.mark.parametrize(
    ("k", "n", "lower", "upper"),
    # Newcombe, Two-sided confidence intervals for the single proportion, 1998, table I.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_published(k, n, lower, upper):
    got = wilson(k, n)
    assert (got.lower, got.upper) == (pytest.approx(lower, abs=5e-5), pytest.approx(upper, abs=5e-5))


@pytest.mark.parametrize(
    ("k", "n", "lower", "upper"),
    [(81, 263, 0.2527, 0.3676), (15, 148, 0.0578, 0.1617), (0, 20, 0.0, 0.1684), (1, 29, 0.0009, 0.1776)],
)
def test_clopper_pearson_published(k, n, lower, upper):
    got = clopper_pearson(k, n)
    assert (got.lower, got.upper) == (pytest.approx(lower, abs=5e-5), pytest.approx(upper, abs=5e-5))


@given(
    st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.8, 0.95, 0.99])
)
def test_rates_equal_scipy_and_are_mirror_images(counts, confidence):
    k, n = counts
    for ours, name in [(wilson, "wilson"), (clopper_pearson, "exact")]:
        got = ours(k, n, confidence=confidence)
        known = stats.binomtest(k, n).proportion_ci(confidence, method=name)
        assert (got.lower, got.upper) == (pytest.approx(known.low, abs=1e-9), pytest.approx(known.high, abs=1e-9))
        assert 0 <= got.lower <= got.value <= got.upper <= 1
        mirror = ours(n - k, n, confidence=confidence)
        assert mirror.upper == pytest.approx(1 - got.lower, abs=1e-9)
    known = stats.binomtest(k, n, alternative="less").proportion_ci(confidence, method="exact")
    got = clopper_pearson(k, n, "upper", confidence=confidence)
    assert (got.lower, got.upper) == (0.0, pytest.approx(known.high, abs=1e-9))
    known = stats.binomtest(k, n, alternative="greater").proportion_ci(confidence, method="exact")
    assert clopper_pearson(k, n, "lower", confidence=confidence).lower == pytest.approx(known.low, abs=1e-9)


def test_examples_needed():
    assert [examples_needed(rate) for rate in (0.1, 0.05, 0.01)] == [29, 59, 299]
    for leaks in (1, 2, 7):
        n = examples_needed(0.1, leaks=leaks)
        assert clopper_pearson(leaks, n, "upper").upper < 0.1 <= clopper_pearson(leaks, n - 1, "upper").upper
    assert examples_needed(0.9, leaks=1) == 3
    with pytest.raises(BadInput):
        examples_needed(1.0)


def test_median_between_order_statistics():
    got = median_interval(list(range(1, 21)))  # the textbook case: x_(6) to x_(15) at n = 20, 95.9 %
    assert (got.value, got.lower, got.upper) == (10.5, 6.0, 15.0)
    assert "95.9 %" in got.method
    few = median_interval([3.0, 1.0, 2.0])
    assert (few.lower, few.value, few.upper) == (1.0, 2.0, 3.0)
    assert "75.0 %" in few.method
    assert "0.0 %" in median_interval([5.0]).method


def test_median_of_thousands_has_an_interval():
    got = median_interval(list(range(1, 6001)))  # half the width is 1.96 sqrt(n) / 2 by the normal approximation
    assert (got.lower, got.upper) == (2924.0, 3077.0)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=60))
def test_median_interval_never_excludes_the_median(values):
    got = median_interval(values)
    assert got.lower <= got.value <= got.upper
    assert got.n == len(values)


def test_median_interval_covers():
    rng = derive(0, "median")
    hits = sum(
        got.lower <= 0 <= got.upper for got in (median_interval(torch.randn(15, generator=rng)) for _ in range(1000))
    )
    assert hits >= 940


def test_mean_bootstrap_covers_even_for_few_values():
    rng = derive(1, "mean")
    hits = 0
    for _ in range(300):
        got = mean_bootstrap(torch.empty(8).exponential_(generator=rng), rng, draws=200)
        hits += got.lower <= 1 <= got.upper
    assert hits >= 0.87 * 300  # skewed, n = 8: the plain percentile bootstrap covers 84 %


def correlated(rate: float, batches: int, size: int, rng: torch.Generator) -> tuple[list[float], list[int]]:
    """Hits with intra-class correlation 1/2: half of all examples copy their batch's coin."""
    coin, own = torch.rand(batches, 1, generator=rng) < rate, torch.rand(batches, size, generator=rng) < rate
    copies = torch.rand(batches, size, generator=rng) < 0.5**0.5
    hits = torch.where(copies, coin, own).double().flatten().tolist()
    return hits, [i // size for i in range(batches * size)]


@pytest.mark.parametrize(("rate", "batches"), [(0.5, 5), (0.1, 5), (0.3, 12), (0.02, 30)])
def test_rates_in_clusters_cover_where_the_naive_interval_does_not(rate, batches):
    rng = derive(2, "clusters")
    tries, good, naive = 400, 0, 0
    for _ in range(tries):
        hits, clusters = correlated(rate, batches, 8, rng)
        got = clustered_rate(hits, clusters)
        good += got.lower <= rate <= got.upper
        plain = wilson(int(sum(hits)), len(hits))
        naive += plain.lower <= rate <= plain.upper
    assert good >= 0.94 * tries
    assert naive < 0.9 * tries


def test_cluster_bootstrap_covers_and_is_at_least_as_wide_as_the_exact_one():
    rng = derive(3, "bootstrap")
    good = 0
    for _ in range(60):
        hits, clusters = correlated(0.3, 10, 4, rng)
        got, exact = cluster_bootstrap(hits, clusters, rng, draws=200), clustered_rate(hits, clusters)
        assert got.lower <= exact.lower <= exact.upper <= got.upper
        good += got.lower <= 0.3 <= got.upper
    assert good >= 55


def test_no_hits_in_clusters_count_clusters_not_examples():
    got = clustered_rate([0.0] * 40, [i // 8 for i in range(40)], "upper")
    assert got.upper == pytest.approx(1 - 0.05**0.2)
    assert cluster_bootstrap([0.0] * 40, [i // 8 for i in range(40)], derive(0)).upper >= got.upper
    one = clustered_rate([1.0] + [0.0] * 39, [i // 8 for i in range(40)], "upper")
    assert one.upper >= got.upper  # a hit never makes a defense look better


@given(st.lists(st.sampled_from([0, 1]), min_size=2, max_size=50))
def test_clusters_of_one_give_the_plain_interval(hits):
    got, plain = clustered_rate(hits, range(len(hits))), clopper_pearson(sum(hits), len(hits))
    assert got.lower == pytest.approx(plain.lower, abs=1e-9)
    assert got.upper == pytest.approx(plain.upper, abs=1e-9)


def test_bootstrap_details():
    values, clusters = [1.0, 2.0, 3.0, 10.0, 11.0, 12.0], ["a", "a", "a", "b", "b", "b"]
    one, same = (cluster_bootstrap(values, clusters, derive(5), draws=100) for _ in range(2))
    assert one == same
    assert (one.value, one.n) == (6.5, 6)
    assert (one.lower, one.upper) == (2.0, 11.0)  # two batches: nothing narrower than their own means
    single = cluster_bootstrap([0.0, 1.0], ["a", "a"], derive(5))
    assert (single.lower, single.upper) == (0.0, 1.0)
    median = cluster_bootstrap(values, range(6), derive(5), torch.median, draws=200)
    assert 1 <= median.lower <= median.value <= median.upper <= 12


def test_nothing_from_nothing():
    for call in (
        lambda: wilson(0, 0),
        lambda: clopper_pearson(3, 2),
        lambda: median_interval([]),
        lambda: median_interval([float("nan")]),
        lambda: clustered_rate([1.0, 0.0], [1]),
    ):
        with pytest.raises(BadInput):
            call()
