"""The label identities on gradients that autograd makes, and the published rules on them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from gradiometer.core import Batch, NotApplicable, cross_entropy, derive
from gradiometer.numerics.heads import find_head, head_outputs
from gradiometer.numerics.labels import (
    as_labels,
    ilrg,
    largest_remainder,
    llg,
    mean_embedding,
    separable_classes,
    single_label,
)


def head_gradient(
    features: Tensor, labels: Tensor, classes: int, bias: bool = True
) -> tuple[nn.Linear, Tensor, Tensor]:
    layer = nn.Linear(features.shape[1], classes, bias=bias).double()
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=derive(7, name), dtype=torch.float64) * 0.3)
    loss = F.cross_entropy(layer(features), labels)
    grads = torch.autograd.grad(loss, list(layer.parameters()))
    return layer, grads[0], grads[1] if bias else torch.zeros(0)


def features(count: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=derive(seed), dtype=torch.float64)


def test_the_bias_identity_is_exact_and_rows_sum_to_zero() -> None:
    h, y = features(9, 6), torch.tensor([0, 0, 1, 3, 3, 3, 3, 4, 4])
    layer, weight, bias = head_gradient(h, y, 5)
    mean = layer(h).softmax(1).mean(0)
    counts = 9 * (mean - bias)
    assert torch.allclose(counts, torch.tensor([2, 1, 0, 4, 2]).double(), atol=1e-12)
    assert weight.sum(0).abs().max() < 1e-14
    assert abs(bias.sum()) < 1e-14


@pytest.mark.parametrize("label", range(4))
@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["positive", "negative"])
def test_a_single_label_is_read_with_and_without_bias_whatever_the_sign_of_the_features(
    label: int, sign: float
) -> None:
    h = sign * features(1, 6).abs()
    _, weight, bias = head_gradient(h, torch.tensor([label]), 4)
    assert single_label(weight, bias) == label
    assert single_label(weight, None) == label


def test_two_classes_without_bias_are_decided_by_positive_features() -> None:
    _, weight, _ = head_gradient(features(1, 6).abs(), torch.tensor([1]), 2, bias=False)
    assert single_label(weight, None) == 1


@given(st.lists(st.floats(-3, 12), min_size=2, max_size=6), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_largest_remainder_sums_to_the_total_and_no_exchange_is_nearer(values: list[float], total: int) -> None:
    real = torch.tensor(values, dtype=torch.float64)
    counts = largest_remainder(real, total)
    assert int(counts.sum()) == total
    assert int(counts.min()) >= 0
    goal = real.clamp(0, total)
    cost = (goal - counts).square().sum()
    for give in range(len(values)):
        for take in range(len(values)):
            other = counts.clone()
            other[give] -= 1
            other[take] += 1
            if other.min() >= 0:
                assert (goal - other).square().sum() >= cost - 1e-9


def test_counts_become_sorted_labels() -> None:
    assert as_labels(torch.tensor([2, 0, 1])).tolist() == [0, 0, 2]


def test_an_absent_class_shows_the_mean_embedding_exactly_where_probabilities_are_constant() -> None:
    h, y = features(6, 8), torch.tensor([0, 0, 1, 1, 1, 3])
    chances = torch.tensor([0.1, 0.2, 0.3, 0.4]).double()
    delta = chances - F.one_hot(y, 4)
    weight, bias = delta.T @ h / 6, delta.mean(0)
    assert torch.allclose(weight[2] / bias[2], h.mean(0), atol=1e-12)
    found = mean_embedding(weight, bias, torch.tensor([2.0, 3.0, -50.0, 1.0]).double())
    assert (found - h.mean(0)).norm() < 0.3 * h.mean(0).norm()


@pytest.mark.parametrize("refinements", [0, 20])
def test_ilrg_is_exact_where_every_example_looks_alike(refinements: int) -> None:
    h = features(1, 8).abs().repeat(12, 1)
    y = torch.tensor([0] * 7 + [2] * 3 + [3] * 2)
    layer, weight, bias = head_gradient(h, y, 5)
    counts = ilrg(weight, bias, layer.weight.detach(), layer.bias.detach(), 12, refinements)
    assert torch.allclose(counts, torch.tensor([7, 0, 3, 2, 0]).double(), atol=1e-6)


def test_llg_emits_every_negative_class_and_then_the_lowest() -> None:
    # One example lowers its class by 1; classes 0 and 2 hold 3 and 1.
    counts = llg(torch.tensor([-2.9, 0.1, -0.9]), torch.tensor(-1.0), 4, torch.tensor([0, 2]))
    assert counts.tolist() == [3, 0, 1]


def test_separability_finds_the_classes_of_a_small_batch_among_many() -> None:
    h, y = features(5, 40), torch.tensor([3, 3, 17, 29, 41])
    _, weight, _ = head_gradient(h, y, 50)
    assert set(separable_classes(weight, 5)) == {3, 17, 29, 41}


def test_the_head_is_found_by_its_rows_that_sum_to_zero() -> None:
    class Backwards(nn.Module):
        """Registers the head first, and a hidden layer of the same width after it."""

        def __init__(self) -> None:
            super().__init__()
            self.answer = nn.Linear(10, 10)
            self.table = nn.Embedding(10, 6)
            self.hidden = nn.Linear(6, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.answer(torch.relu(self.hidden(self.table(x))))

    model = Backwards()
    loss = F.cross_entropy(model(torch.tensor([1, 2, 3])), torch.tensor([4, 4, 9]))
    named = dict(model.named_parameters())
    gradient = dict(zip(named, torch.autograd.grad(loss, list(named.values()))))
    for known in (model, None):
        head = find_head(known, gradient, 10)
        assert (head.weight, head.bias, head.module) == ("answer.weight", "answer.bias", "answer")
    with pytest.raises(NotApplicable, match="no trained linear layer of the model has 7 outputs"):
        find_head(model, gradient, 7)


def test_a_head_without_bias_and_a_model_that_is_its_own_head() -> None:
    model = nn.Linear(4, 3, bias=False)
    head = find_head(model, {"weight": torch.ones(3, 4)}, 3)
    assert (head.weight, head.bias, head.module) == ("weight", None, "")


def test_what_the_head_sees_and_answers(digits_data) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 10))
    batch = digits_data.public.take(slice(0, 7))
    head = find_head(model, dict(model.named_parameters()), 10)
    state = torch.get_rng_state()
    inputs, answers = head_outputs(model, cross_entropy, head, batch, mode="eval", size=3, rng=derive(0))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.allclose(inputs.float(), torch.relu(model[1](batch["x"].flatten(1))))
    assert torch.allclose(answers.float(), model(batch["x"]).softmax(1), atol=1e-6)
    grouped, _ = head_outputs(model, cross_entropy, head, batch, mode="train", size=3, rng=derive(0))
    assert len(grouped) == 6  # two whole groups of three
    tokens = nn.Sequential(nn.Linear(8, 10), nn.Flatten(), nn.Unflatten(1, (8, 10)))
    batch = Batch(x=batch["x"][:, 0], y=torch.zeros(7, 10, dtype=torch.long))
    with pytest.raises(NotApplicable, match="not applied once an example"):
        head_outputs(
            tokens, cross_entropy, find_head(tokens, dict(tokens.named_parameters()), 10), batch,
            mode="eval", size=1, rng=derive(0),
        )  # fmt: skip
