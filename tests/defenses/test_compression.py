"""Prune, TopK, Quantize, QSGD, Ternary, Sign: known answers and the statements of their papers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from gradiometer.core import BadConfig, Defense, derive
from gradiometer.defenses import QSGD, Prune, Quantize, Sign, Ternary, TopK


def apply(defense: Defense, value: torch.Tensor, seed: int = 0, memory: dict[str, Any] | None = None) -> torch.Tensor:
    return defense.on_gradients({"w": value}, rng=derive(seed), memory={} if memory is None else memory)["w"]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=derive(seed, "data"))


def test_global_scheme_by_hand() -> None:
    """min -1, max 3, 2 bits: w = 1, levels -1, 0, 1, 2, 3; one grid for both tensors."""
    values = {"a": torch.tensor([-1.0, 0.4, 3.0]), "b": torch.tensor([0.1, -0.6])}
    sent = Quantize(bits=2).on_gradients(values, rng=derive(0), memory={})
    assert sent["a"].tolist() == [-1.0, 0.0, 3.0]
    assert sent["b"].tolist() == [0.0, -1.0]


def test_global_scheme_moves_zeros_together() -> None:
    sent = apply(Quantize(bits=2), torch.tensor([-1.0, 0.0, 0.0, 0.0, 2.0]))
    assert sent.tolist() == [-1.0, -0.25, -0.25, -0.25, 2.0]


def test_symmetric_scheme_by_hand() -> None:
    sent = apply(Quantize(bits=3, scheme="symmetric"), torch.tensor([-3.0, 0.4, 1.6, 0.0]))
    assert sent.tolist() == [-3.0, 0.0, 2.0, 0.0]


def test_every_output_channel_has_a_grid_of_its_own() -> None:
    """Rows of length 3 and 0.3 with 3 bits: steps 1 and 0.1; a bias is one row."""
    values = {"w": torch.tensor([[-3.0, 1.4, 0.0], [0.3, 0.14, -0.06]]), "b": torch.tensor([3.0, 0.6])}
    defense = Quantize(bits=3, scheme="channel")
    sent = defense.on_gradients(values, rng=derive(0), memory={})
    assert torch.allclose(sent["w"], torch.tensor([[-3.0, 1.0, 0.0], [0.3, 0.1, -0.1]]))
    assert sent["b"].tolist() == [3.0, 1.0]
    assert defense.wire_bytes(sent) == 3 + 1 + 3 * 4


def test_error_feedback_catches_up_with_what_rounding_left_out() -> None:
    defense, memory, value = Quantize(bits=2, scheme="symmetric", error_feedback=True), {}, normal(40)
    total = sum(defense.on_gradients({"w": value}, rng=derive(0), memory=memory)["w"] for _ in range(50))
    assert (total / 50 - value).abs().max() < 0.1 * value.abs().max()
    assert (apply(Quantize(bits=2, scheme="symmetric"), value) - value).abs().max() > 0.3 * value.abs().max()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_levels_and_rounding_error(bits: int) -> None:
    value = normal(200, 50)
    sent = apply(Quantize(bits=bits), value)
    step = (value.max() - value.min()) / 2**bits
    assert len(sent.unique()) <= 2**bits + 1
    assert (sent - value).abs().max() <= step / 2 * (1 + 1e-4)
    assert len(apply(Quantize(bits=bits, scheme="symmetric"), value).unique()) <= 2**bits - 1


def test_values_all_alike() -> None:
    assert torch.equal(apply(Quantize(bits=4), torch.full((5,), 0.3)), torch.full((5,), 0.3))
    for defense in (Quantize(bits=4, scheme="symmetric"), QSGD(), Ternary()):
        assert torch.equal(apply(defense, torch.zeros(5)), torch.zeros(5))


@pytest.mark.parametrize(
    "defense",
    [
        QSGD(bits=2),
        QSGD(bits=4, norm="max"),
        QSGD(bits=3, bucket=None),
        Ternary(),
        *(Quantize(bits=2, scheme=s, rounding="stochastic") for s in ("global", "symmetric", "channel")),
    ],
    ids=str,
)
def test_stochastic_schemes_are_unbiased(defense: Defense) -> None:
    """The mean of 2,000 draws is within 5 standard errors of the raw value in every entry, or what one draw more would change."""
    value = normal(8, 9)
    draws = torch.stack([apply(defense, value, seed) for seed in range(2000)])
    error = draws.std(0) / math.sqrt(2000)
    unseen = float(draws.max() - draws.min()) / 2000  # beside a level, the other one may never be drawn
    assert ((draws.mean(0) - value).abs() <= 5 * error + unseen).all()


def test_clipped_ternary_is_biased_and_quieter() -> None:
    value = normal(100, 100)
    value[0, 0] = 50.0
    plain, clipped = apply(Ternary(), value), apply(Ternary(clip=2.5), value)
    assert clipped.abs().max() == pytest.approx(2.5 * float(value.std(correction=0)))
    assert (clipped - value).square().mean() < (plain - value).square().mean()


@pytest.mark.parametrize(("bits", "size"), [(2, 100), (3, 1000), (4, 1000), (6, 64)])
def test_qsgd_variance_bound(bits: int, size: int) -> None:
    """E||q - v||^2 <= min(n / L^2, sqrt(n) / L) ||v||^2 (Alistarh et al., lemma 3.1)."""
    value, levels = normal(size), 2 ** (bits - 1) - 1
    errors = [(apply(QSGD(bits=bits, bucket=None), value, seed) - value).square().sum() for seed in range(50)]
    bound = min(size / levels**2, math.sqrt(size) / levels) * value.square().sum()
    assert torch.stack(errors).mean() <= bound


def test_qsgd_buckets_have_their_own_scale() -> None:
    value = torch.cat([torch.full((4,), 0.001), torch.full((4,), 100.0)])
    together, apart = (apply(QSGD(bits=4, bucket=size, norm="max"), value) for size in (8, 4))
    assert torch.allclose(apart, value)
    assert not torch.allclose(together[:4], value[:4], atol=1e-4)


def test_ternary_has_three_levels() -> None:
    value = normal(500)
    sent = apply(Ternary(), value)
    assert {round(float(v), 5) for v in sent.unique() / value.abs().max()} == {-1.0, 0.0, 1.0}
    assert sent.count_nonzero() / 500 == pytest.approx(float((value.abs() / value.abs().max()).mean()), abs=0.07)


def test_sign_by_hand() -> None:
    assert apply(Sign(), torch.tensor([2.0, -1.0, 0.0, 3.0])).tolist() == [1.5, -1.5, 1.5, 1.5]


@pytest.mark.parametrize("scope", ["tensor", "global"])
def test_pruning_zeroes_both_signs_alike(scope: str) -> None:
    """The share of zeros is 1 - keep, on negative and on positive entries."""
    value = normal(300, 100)
    sent = apply(Prune(keep=0.3, scope=scope), value)  # type: ignore[arg-type]
    for side in (value > 0, value < 0):
        assert float((sent[side] == 0).float().mean()) == pytest.approx(0.7, abs=0.02)
    assert int(sent.count_nonzero()) == 9000
    kept = sent != 0
    assert torch.equal(sent[kept], value[kept])
    assert value[kept].abs().min() >= value[~kept].abs().max()


def test_scope_of_pruning() -> None:
    values = {"large": 100 * normal(50), "small": normal(50)}
    globally = Prune(keep=0.1, scope="global").on_gradients(values, rng=derive(0), memory={})
    each = Prune(keep=0.1, scope="tensor").on_gradients(values, rng=derive(0), memory={})
    assert [int(v.count_nonzero()) for v in globally.values()] == [10, 0]
    assert [int(v.count_nonzero()) for v in each.values()] == [5, 5]


@pytest.mark.parametrize("defense", [TopK(keep=0.05), Sign(error_feedback=True)], ids=["top-k", "sign"])
def test_error_feedback_loses_nothing(defense: Defense) -> None:
    """The sum of what was sent is the sum of the raw updates less the residual; the residual stays bounded."""
    memory: dict[str, Any] = {}
    raw = [normal(40, 10, seed=i) for i in range(300)]
    sent = [apply(defense, value, memory=memory) for value in raw]
    gap = torch.stack(raw).double().sum(0) - torch.stack(sent).double().sum(0)
    assert torch.allclose(gap, memory["residual"]["w"].double(), atol=1e-3)
    mean_gap = gap / len(raw)
    assert mean_gap.norm() < 0.15 * normal(40, 10).norm()
    assert (
        TopK(keep=0.05, error_feedback=False).on_gradients({"w": raw[0]}, rng=derive(0), memory={})["w"].count_nonzero()
        == 20
    )


def test_without_feedback_nothing_is_remembered() -> None:
    for defense in (TopK(error_feedback=False), Sign(), Prune(), Quantize(), QSGD(), Ternary()):
        memory: dict[str, Any] = {}
        apply(defense, normal(20, 20), memory=memory)
        assert memory == {}


@pytest.mark.parametrize(
    ("defense", "expected"),
    [
        (Quantize(bits=8), 1000 + 10 + 2 * 4),
        (Quantize(bits=3, scheme="symmetric"), 375 + 4 + 2 * 4),
        (QSGD(bits=4, bucket=512), 500 + 5 + 3 * 4),
        (Ternary(), 250 + 3 + 2 * 4),
        (Sign(), 125 + 2 + 2 * 4),
        (Prune(keep=0.1), 100 * (4 + 2) + 1 * (4 + 1)),
        (TopK(keep=0.5), 1000 * 4 + 10 * 4),
    ],
    ids=str,
)
def test_bytes_by_hand(defense: Defense, expected: int) -> None:
    """1,000 and 10 entries. Half of the entries with their positions would be longer than all of them without."""
    values = {"w": 5 * normal(1000), "b": normal(10)}
    sent = defense.on_gradients(values, rng=derive(0), memory={})
    found = defense.wire_bytes(sent)
    if isinstance(defense, TopK):
        few = int(sent["b"].count_nonzero()) * 5
        expected = min(int(sent["w"].count_nonzero()) * 6, 4000) + min(few, 40)
    assert found == expected


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (Quantize, {"bits": 0}),
        (Quantize, {"bits": 1, "scheme": "symmetric"}),
        (Quantize, {"bits": 33}),
        (QSGD, {"bits": 1}),
        (QSGD, {"bucket": 0}),
        (Ternary, {"clip": 0.0}),
        (Prune, {"keep": 0.0}),
        (Prune, {"keep": 1.5}),
        (TopK, {"keep": -0.1}),
    ],
)
def test_settings_out_of_range(make: type[Defense], settings: dict[str, Any]) -> None:
    with pytest.raises(BadConfig):
        make(**settings)
