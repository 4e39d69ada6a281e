"""AUC against counting by hand, and its interval against simulation and at the ends."""

from __future__ import annotations

import pytest
import torch

from gradiometer.core import BadInput, derive
from gradiometer.numerics.ranking import auc, auc_interval


def test_by_hand() -> None:
    assert auc([0.1, 0.4, 0.35, 0.8], [False, False, True, True]) == 0.75
    assert auc([1.0, 1.0, 1.0], [True, False, True]) == 0.5
    assert auc([0.0, 1.0], [True, False]) == 0.0


def test_agrees_with_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    rng = derive(0)
    scores, truths = (torch.rand(50, generator=rng) * 10).round(), torch.rand(50, generator=rng) < 0.3
    assert auc(scores.tolist(), truths.tolist()) == pytest.approx(roc_auc_score(truths, scores), abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0])
def test_the_interval_covers_as_stated(shift: float) -> None:
    """Normal scores with means `shift` apart have the AUC Phi(shift / sqrt 2); 200 samples of 20 and 30."""
    true = float(torch.special.ndtr(torch.tensor(shift / 2**0.5)))
    truths, covered = [True] * 20 + [False] * 30, 0
    for turn in range(200):
        scores = torch.randn(50, generator=derive(1, turn, shift))
        scores[:20] += shift
        found = auc_interval(scores.tolist(), truths)
        covered += found.lower <= true <= found.upper
    assert 0.91 <= covered / 200 <= 0.99


def test_the_ends_keep_their_doubt() -> None:
    perfect = auc_interval([0.0] * 10 + [1.0] * 10, [False] * 10 + [True] * 10)
    assert perfect.value == perfect.upper == 1.0
    assert 0.7 < perfect.lower < 0.95
    nothing = auc_interval([1.0] * 10 + [0.0] * 10, [False] * 10 + [True] * 10)
    assert nothing.lower == 0.0
    assert nothing.upper == pytest.approx(1 - perfect.lower)


@pytest.mark.parametrize(
    ("scores", "truths"), [([1.0, 2.0], [True, True]), ([1.0], [True, False]), ([float("nan"), 0.0], [True, False])]
)
def test_refuses_what_has_no_rank(scores: list[float], truths: list[bool]) -> None:
    with pytest.raises(BadInput, match="AUC"):
        auc(scores, truths)
