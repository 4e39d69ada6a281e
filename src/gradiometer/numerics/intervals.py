"""Intervals: what a figure from a few examples says about all of them. Every one is conservative when it cannot be exact."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import torch
from torch import Tensor

from gradiometer.core import BadInput

Number = float | int
Side = Literal["two", "upper", "lower"]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A figure, its confidence limits, how many observations stand behind it, and how the limits were made."""

    value: float
    lower: float
    upper: float
    n: int
    method: str


def wilson(k: int, n: int, *, confidence: float = 0.95) -> Interval:
    """Score interval of a rate: `(p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)`.

    Args:
        k, n: hits and tries, 0 <= k <= n, n >= 1.

    References:
        Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    _check_counts(k, n)
    z, p = NormalDist().inv_cdf((1 + confidence) / 2), k / n
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # The formula gives exactly 0 and 1 at the ends, up to rounding.
    lower, upper = (0.0 if k == 0 else center - half), (1.0 if k == n else center + half)
    return Interval(value=p, lower=lower, upper=upper, n=n, method="Wilson")


def clopper_pearson(k: Number, n: Number, side: Side = "two", *, confidence: float = 0.95) -> Interval:
    """Exact interval of a rate: the rates at which k or fewer, or k or more, hits are not yet too unlikely.

    Args:
        k, n: hits and tries; fractions are allowed, for effective sample sizes.
        side: `upper` puts all the doubt above (lower = 0): the bound that a HOLDS verdict needs. `lower` likewise.

    References:
        Clopper, Pearson, The use of confidence or fiducial limits illustrated in the case of the binomial, 1934.
    """
    from scipy.special import betaincinv

    _check_counts(k, n)
    tail = (1 - confidence) / (2 if side == "two" else 1)
    lower = 0.0 if side == "upper" or k == 0 else float(betaincinv(k, n - k + 1, tail))
    upper = 1.0 if side == "lower" or k == n else float(betaincinv(k + 1, n - k, 1 - tail))
    method = "Clopper-Pearson" if side == "two" else f"Clopper-Pearson, {side} bound"
    return Interval(value=k / n, lower=lower, upper=upper, n=round(n), method=method)


def examples_needed(rate: float, *, leaks: int = 0, confidence: float = 0.95) -> int:
    """The fewest tries after which `leaks` hits put the exact upper bound below `rate`.

    Without a hit, `ln(1 - confidence) / ln(1 - rate)`: 29 for 10 %, 59 for 5 %, 299 for 1 %.
    """
    if not 0 < rate < 1:
        raise BadInput(f"a tolerated rate lies between 0 and 1, got {rate}")
    if leaks == 0:
        return math.ceil(math.log(1 - confidence) / math.log1p(-rate))

    def settled(n: int) -> bool:
        return clopper_pearson(leaks, n, "upper", confidence=confidence).upper < rate

    low = high = max(leaks, 1)
    while not settled(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if settled(middle) else (middle, high)
    return high


def median_interval(values: Sequence[Number] | Tensor, *, confidence: float = 0.95) -> Interval:
    """Interval of the median between two order statistics, without any assumption on the distribution.

    `[x_(j), x_(n+1-j)]` misses the median with probability `2 P(Binomial(n, 1/2) < j)`; j is the largest that keeps the
    confidence. Below 6 values none does at 95 %: the whole range is returned, and `method` states its true confidence.
    """
    ordered = _finite(values).sort().values
    n = len(ordered)
    k = torch.arange(n // 2 + 1, dtype=torch.float64)
    ways = math.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    missed = (ways - n * math.log(2)).exp().cumsum(0)
    j = max(1, int((missed <= (1 - confidence) / 2 * (1 + 1e-9)).sum()))
    method = f"median between order statistics, {100 * max(0.0, 1 - 2 * float(missed[j - 1])):.1f} % confidence"
    return Interval(
        value=ordered.quantile(0.5).item(),
        lower=ordered[j - 1].item(),
        upper=ordered[n - j].item(),
        n=n,
        method=method,
    )


def mean_bootstrap(
    values: Sequence[Number] | Tensor, rng: torch.Generator, *, confidence: float = 0.95, draws: int = 2000
) -> Interval:
    """Bootstrap interval of the mean of independent values: `cluster_bootstrap` with every value its own cluster."""
    return cluster_bootstrap(values, range(len(values)), rng, confidence=confidence, draws=draws)


def cluster_bootstrap(
    values: Sequence[Number] | Tensor,
    clusters: Sequence[Hashable],
    rng: torch.Generator,
    statistic: Callable[[Tensor], Tensor] = torch.mean,
    *,
    confidence: float = 0.95,
    draws: int = 2000,
) -> Interval:
    """Interval of a statistic of values that come in clusters: examples of one batch leak together.

    Whole clusters are drawn with replacement. Percentiles are widened for few clusters m as Hesterberg does, from level
    a to `Phi(√(m/(m-1)) t_{m-1}(a))`. Still, a bootstrap cannot show what it has not seen; therefore
    - the limits of a rate (values 0 and 1) reach at least as far as `clustered_rate`, which is not fooled by no hits;
    - one cluster says nothing about others: the limits are those of the values ([0, 1] for a rate).

    Args:
        values, clusters: one entry an example; equal entries of `clusters` mark one cluster.
        statistic: of a vector of values; it must lie within their range, as means and quantiles do.

    References:
        Hesterberg, What Teachers Should Know About the Bootstrap, 2015, arXiv:1411.5279.
    """
    from scipy.special import ndtr, stdtrit

    data = _finite(values)
    groups = _group(data, clusters)
    m, value = len(groups), float(statistic(data))
    rate = bool(((data == 0) | (data == 1)).all())
    if m == 1:
        lower, upper = (0.0, 1.0) if rate else (data.min().item(), data.max().item())
        return Interval(value=value, lower=lower, upper=upper, n=len(data), method="range of a single batch")
    picks = torch.randint(m, (draws, m), generator=rng)
    drawn = torch.stack([statistic(torch.cat([groups[i] for i in pick])) for pick in picks.tolist()])
    level = float(ndtr(math.sqrt(m / (m - 1)) * stdtrit(m - 1, (1 - confidence) / 2)))
    lower, upper = min(drawn.quantile(level).item(), value), max(drawn.quantile(1 - level).item(), value)
    if rate and statistic is torch.mean:
        exact = clustered_rate(values, clusters, confidence=confidence)
        lower, upper = min(lower, exact.lower), max(upper, exact.upper)
    return Interval(value=value, lower=lower, upper=upper, n=len(data), method=f"bootstrap of {m} batches")


def clustered_rate(
    hits: Sequence[Number] | Tensor, clusters: Sequence[Hashable], side: Side = "two", *, confidence: float = 0.95
) -> Interval:
    """Clopper-Pearson interval of a rate whose examples come in clusters, at the effective sample size.

    `n_eff = n p(1-p)/(n-1) / v (t_{n-1}/t_{m-1})²`, at most n, where v is the variance of p estimated from the m
    clusters. No variance can be seen where (almost) all examples agree, so there a whole cluster counts as one try:
    the upper limit is never below that of 0 hits in m tries, nor the lower above that of m in m. Clusters of one
    example give the plain Clopper-Pearson interval.

    References:
        Korn, Graubard, Confidence intervals for proportions with small expected number of positive counts estimated
        from survey data, 1998. Departs from the paper in that floor (the paper takes n tries for 0 hits).
    """
    from scipy.special import stdtrit

    data = _finite(hits)
    groups = _group(data, clusters)
    n, m, p = len(data), len(groups), data.mean().item()
    none, every = (clopper_pearson(k, m, side, confidence=confidence) for k in (0, m))
    effective = 1.0
    if 0 < p < 1 and m > 1:
        variance = sum((group - p).sum().item() ** 2 for group in groups) * m / (m - 1) / n**2
        tail = (1 - confidence) / 2
        narrower = float(stdtrit(n - 1, tail) / stdtrit(m - 1, tail)) ** 2
        effective = max(1.0, n * min(1.0, p * (1 - p) / (n - 1) / max(variance, 1e-300) * narrower))
    elif m > 1:
        effective = float(m)
    exact = clopper_pearson(p * effective, effective, side, confidence=confidence)
    method = f"{exact.method}, {m} batches" if m < n else exact.method
    return Interval(
        value=p, lower=min(exact.lower, every.lower), upper=max(exact.upper, none.upper), n=n, method=method
    )


def _check_counts(k: Number, n: Number) -> None:
    if not (n > 0 and 0 <= k <= n):
        raise BadInput(f"a rate needs 0 <= hits <= tries and at least one try, got {k} of {n}")


def _finite(values: Sequence[Number] | Tensor) -> Tensor:
    data = torch.as_tensor(values, dtype=torch.float64).detach().flatten()
    if not len(data) or not data.isfinite().all():
        raise BadInput(f"an interval needs at least one value, and finite ones, got {len(data)}")
    return data


def _group(data: Tensor, clusters: Sequence[Hashable]) -> list[Tensor]:
    if len(clusters) != len(data):
        raise BadInput(f"{len(data)} values cannot lie in {len(clusters)} clusters: give one cluster name a value")
    members: dict[Hashable, list[int]] = {}
    for i, name in enumerate(clusters):
        members.setdefault(name, []).append(i)
    return [data[index] for index in members.values()]
