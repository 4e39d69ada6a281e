"""Is there an example of a class in the batch? The estimate, the decision and its error rate in closed form.

The estimate of the count is `n + N(0, deviation^2)`. With Gaussian noise of standard deviation s on the bias gradient
and a known mean probability, `deviation = B s`; averaging R rounds divides it by sqrt(R).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def count_deviation(size: int, noise: float, rounds: int = 1) -> float:
    """Standard deviation of `n = B (pbar - db)`, in examples, when db carries noise.

    Args:
        size: B; noise: s, standard deviation on one entry of the mean gradient; rounds: R, averaged.
    """
    return size * noise / math.sqrt(rounds)


def presence_threshold(deviation: float, prior: float = 0.5, with_case: float | None = None) -> float:
    """From which estimated count on "present" is the likelier answer; 1/2 when both are equally likely beforehand.

    Args:
        deviation: of the estimate, in examples, when there is none.
        prior: probability that there is one example; otherwise there is none.
        with_case: deviation when there is one, at least `deviation`; None: the same.
    """
    case = deviation if with_case is None else with_case
    if deviation == 0:
        return 0.5
    # The log odds are square x^2 + x / case^2 + rest; their upper root, in the form that also holds for square = 0.
    square = (1 / deviation**2 - 1 / case**2) / 2
    rest = math.log(prior / (1 - prior)) + math.log(deviation / case) - 1 / (2 * case**2)
    discriminant = 1 / case**4 - 4 * square * rest
    return -math.inf if discriminant < 0 else -2 * rest / (1 / case**2 + math.sqrt(discriminant))


def presence_error(deviation: float, prior: float = 0.5, count: int = 1, with_case: float | None = None) -> float:
    """Error rate of that decision: `Phi(-1 / (2 deviation))` with equal priors and counts 0 or 1.

    The prior is on two cases: no example of the class, with probability `1 - prior`, or exactly `count` of them. The
    decision is the one made for `count = 1`; more examples only make misses rarer.

    Args:
        deviation, with_case: of the estimated count, in examples, without and with the case.
    """
    case = deviation if with_case is None else with_case
    if deviation == 0:
        return 0.0 if case == 0 else prior * _normal((0.5 - count) / case)
    threshold = presence_threshold(deviation, prior, case)
    alarm, miss = _normal(-threshold / deviation), _normal((threshold - count) / case)
    return (1 - prior) * alarm + prior * miss


def presence_posterior(estimate: float, deviation: float, prior: float = 0.5, with_case: float | None = None) -> float:
    """Probability of one example rather than none, given the estimated count."""
    case = deviation if with_case is None else with_case
    if deviation == 0:
        return float(estimate > 0.5)
    odds = math.log(prior / (1 - prior)) + math.log(deviation / case)
    odds += (estimate / deviation) ** 2 / 2 - ((estimate - 1) / case) ** 2 / 2
    return 1 / (1 + math.exp(-min(max(odds, -700.0), 700.0)))


def _normal(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How to read a count off one row of the head's gradient: `n = B (level - weights . row)`.

    It is off by `deviation` examples where there is none of the class, and by `with_case` where there is one.
    """

    weights: Tensor
    level: float
    deviation: float
    with_case: float


def best_reading(inputs: Tensor, answers: Tensor, size: int, noise: Tensor) -> Reading:
    """The combination a of directions along which the row tells the count with the least variance.

    The row, read along directions u, is `dW_c . u = mean_i p_ic u_i - sum_{y_i = c} u_i / B`. With `mean(u) . a = 1` its
    combination has the mean `level - n / B`. The variance of n is `B^2 a^T N a + B Var(p u . a)`, where the level, itself
    a mean over the reference, adds `B^2 / count` times `Var(p u . a)`; and one example of the class adds `Var(u . a)`.
    Hence a ~ Q^-1 mean(u) with Q of them all.

    Args:
        inputs: u_j of reference examples [count, directions]; answers: p_jc u_j of the class, alike.
        size: B; noise: covariance N of the noise on the row read along the directions [directions, directions].
    """
    mean = inputs.mean(0)
    always = size**2 * noise
    always = always + (size + size**2 / len(inputs)) * torch.cov(answers.T, correction=0).reshape(noise.shape)
    spread = always + torch.cov(inputs.T, correction=0).reshape(noise.shape)
    ridge = 1e-12 * float(mean @ mean) * torch.eye(len(mean), dtype=mean.dtype)
    weights = torch.linalg.solve(spread + ridge, mean)
    weights = weights / (weights @ mean)
    return Reading(
        weights=weights,
        level=float(answers.mean(0) @ weights),
        deviation=max(0.0, float(weights @ always @ weights)) ** 0.5,  # rounding may leave it below zero
        with_case=max(0.0, float(weights @ spread @ weights)) ** 0.5,
    )
