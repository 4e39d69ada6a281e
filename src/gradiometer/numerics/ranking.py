"""How well scores rank the cases before the rest: the area under the ROC curve, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import torch

from gradiometer.core import BadInput

from .intervals import Interval


def auc(scores: Sequence[float], truths: Sequence[bool]) -> float:
    """`P(score of a case > score of a non-case) + P(equal) / 2`: 1/2 for guessing.

    Args:
        scores: finite; truths: which of them are cases. Both kinds must occur.

    Raises:
        BadInput: they do not.
    """
    values, cases = torch.as_tensor(scores, dtype=torch.float64), torch.as_tensor(truths, dtype=torch.bool)
    if values.shape != cases.shape or not values.isfinite().all() or not 0 < int(cases.sum()) < len(cases):
        raise BadInput("an AUC needs finite scores, one a truth, of at least one case and one that is none")
    above = values[cases][:, None] - values[~cases][None]
    return float((above > 0).double().mean() + (above == 0).double().mean() / 2)


def auc_interval(scores: Sequence[float], truths: Sequence[bool], *, confidence: float = 0.95) -> Interval:
    """The AUCs t with `(auc - t)² <= z² v(t)`, which stays honest where ranking is perfect.

        v(t) = t (1 - t) (1 + (n - 1) ((1 - t) / (2 - t) + t / (1 + t))) / (m k),   n = (m + k) / 2

    for m cases and k others.

    References:
        Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2", 2006
        (method 5).
    """
    value, cases = auc(scores, truths), sum(map(bool, truths))
    others = len(truths) - cases
    z, half = NormalDist().inv_cdf((1 + confidence) / 2), (cases + others) / 2 - 1

    def outside(t: float) -> bool:
        spread = t * (1 - t) * (1 + half * ((1 - t) / (2 - t) + t / (1 + t))) / (cases * others)
        return (value - t) ** 2 > z * z * spread

    def limit(end: float) -> float:
        """Between the value, inside, and an end of [0, 1], where the variance is nothing."""
        inside = value
        for _ in range(60):
            middle = (inside + end) / 2
            inside, end = (inside, middle) if outside(middle) else (middle, end)
        return inside

    lower, upper = (0.0 if value == 0 else limit(0.0)), (1.0 if value == 1 else limit(1.0))
    return Interval(value=value, lower=lower, upper=upper, n=len(truths), method="Newcombe, AUC")
