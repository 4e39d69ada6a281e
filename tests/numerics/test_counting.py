"""Integer least squares for label counts: exact where the reference is right, and honest about its confidence."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gradiometer.core import derive
from gradiometer.numerics.counting import Reference, count_labels, expected


def reference(count: int, labeled: bool, spread: float = 0.3) -> Reference:
    """Three classes, logits that scatter, and two directions: a constant and the first logit."""
    logits = spread * torch.randn(count, 3, generator=derive(1), dtype=torch.float64)
    labels = torch.arange(count) % 3
    if labeled:
        logits = logits + F.one_hot(labels, 3)
    inputs = torch.stack([torch.ones(count), logits[:, 0]], 1).double()
    answers = logits.softmax(1)[:, :, None] * inputs[:, None, :]
    return Reference(answers=answers, inputs=inputs, labels=labels if labeled else None)


def signal(like: Reference, rows: Tensor, labels: Tensor) -> Tensor:
    own = F.one_hot(labels, 3).double()[:, :, None] * like.inputs[rows][:, None, :]
    return (like.answers[rows] - own).sum(0)


def test_the_expected_signal_of_counts_is_recognized_exactly() -> None:
    for labeled in (True, False):
        like = reference(300, labeled)
        counts = torch.tensor([5, 0, 11])
        found = count_labels(expected(like, counts), like, 16)
        assert found.counts.tolist() == [5, 0, 11]


@pytest.mark.parametrize(("spread", "least"), [(0.1, 38), (0.3, 0)], ids=["easy", "hard"])
def test_fresh_batches_are_counted_and_the_stated_confidence_is_the_share_of_right_answers(
    spread: float, least: int
) -> None:
    like = reference(600, labeled=True, spread=spread)
    right, stated = 0, 0.0
    for turn in range(40):
        rows = torch.randint(600, (24,), generator=derive(turn))
        labels = like.labels[rows]
        found = count_labels(signal(like, rows, labels), like, 24)
        assert int(found.counts.sum()) == 24
        right += found.counts.tolist() == torch.bincount(labels, minlength=3).tolist()
        stated += found.confidence
    assert right >= least
    assert abs(stated - right) / 40 < 0.15


def test_stated_noise_lowers_the_confidence_and_not_the_counts() -> None:
    like = reference(300, labeled=False, spread=0.05)
    counts = torch.tensor([2, 3, 3])
    quiet = count_labels(expected(like, counts), like, 8)
    loud = count_labels(expected(like, counts), like, 8, noise=torch.eye(2).double().repeat(3, 1, 1) * 4.0)
    assert quiet.counts.tolist() == loud.counts.tolist() == counts.tolist()
    assert loud.confidence < 0.6 < quiet.confidence


def test_a_class_without_reference_examples_is_counted_by_the_pooled_ones() -> None:
    like = reference(300, labeled=False, spread=0.05)
    partial = Reference(answers=like.answers, inputs=like.inputs, labels=torch.arange(300) % 2)
    found = count_labels(expected(like, torch.tensor([1, 2, 5])), partial, 8)
    assert found.counts.tolist() == [1, 2, 5]
