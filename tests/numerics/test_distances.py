"""Distances: closed-form derivatives, relative scale, and what each of them is blind to."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gradiometer.core import Values
from gradiometer.numerics.distances import L1, ChannelDistance, Cosine, Distance, Elastic, LayerwiseCosine, SquaredL2

DISTANCES = [SquaredL2(), L1(), Cosine(), LayerwiseCosine(), Elastic(alpha=0.5)]


def flat(values: Values) -> Tensor:
    return torch.cat([value.reshape(-1) for value in values.values()])


def naive(distance: Distance, s: Values, t: Values) -> Tensor:
    """The formulas of the docstrings, left to autograd."""
    a, b = flat(s), flat(t)
    match distance:
        case SquaredL2():
            return (a - b).square().sum() / b.square().sum()
        case L1():
            return (a - b).abs().sum() / b.abs().sum()
        case Elastic():
            gaps = {name: s[name] - t[name] for name in t}
            weights = [1 - i / len(t) for i in range(len(t))]

            def summed(values: Values, power: int) -> Tensor:
                return torch.stack([w * v.abs().pow(power).sum() for w, v in zip(weights, values.values())]).sum()

            return summed(gaps, 2) / summed(t, 2) + distance.alpha * summed(gaps, 1) / summed(t, 1)
        case Cosine():
            return 1 - torch.cosine_similarity(a, b, dim=0)
        case _:
            return torch.stack(
                [1 - torch.cosine_similarity(flat({"_": s[n]}), flat({"_": t[n]}), dim=0) for n in t]
            ).mean()


@pytest.fixture
def pair() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    rng = torch.Generator().manual_seed(0)
    shapes = {"weight": (4, 3), "bias": (4,), "scale": ()}
    draw = lambda: {n: torch.randn(shape, generator=rng, dtype=torch.float64) for n, shape in shapes.items()}  # noqa: E731
    return draw(), draw()


@pytest.mark.parametrize("distance", DISTANCES, ids=lambda d: type(d).__name__)
def test_value_and_derivative_are_those_of_the_formula(distance: Distance, pair: tuple[Values, Values]) -> None:
    simulated, sent = pair
    leaves = {name: value.clone().requires_grad_() for name, value in simulated.items()}
    expected = naive(distance, leaves, sent)
    slopes = torch.autograd.grad(expected, list(leaves.values()))
    value, cotangents = distance.against(sent)(simulated)
    assert torch.isclose(value, expected.detach())
    for name, slope in zip(leaves, slopes):
        assert torch.allclose(cotangents[name], slope, atol=1e-12), name


@pytest.mark.parametrize("distance", DISTANCES, ids=lambda d: type(d).__name__)
def test_zero_at_a_match_and_relative_to_the_update(distance: Distance, pair: tuple[Values, Values]) -> None:
    simulated, sent = pair
    small = lambda values: {name: 1e-6 * value for name, value in values.items()}  # noqa: E731
    assert float(distance.against(sent)(sent)[0]) == pytest.approx(0, abs=1e-12)
    value = float(distance.against(sent)(simulated)[0])
    assert float(distance.against(small(sent))(small(simulated))[0]) == pytest.approx(value)
    assert 0.1 < value < 10


def test_cosines_are_blind_to_length(pair: tuple[Values, Values]) -> None:
    simulated, sent = pair
    long = {name: 7 * value for name, value in simulated.items()}
    for distance in (Cosine(), LayerwiseCosine()):
        assert torch.isclose(distance.against(sent)(long)[0], distance.against(sent)(simulated)[0])


@pytest.mark.parametrize("distance", DISTANCES, ids=lambda d: type(d).__name__)
def test_all_zero_updates_stay_finite(distance: Distance) -> None:
    zero = {"w": torch.zeros(3)}
    for simulated, sent in ((zero, {"w": torch.ones(3)}), (zero, zero)):
        value, cotangents = distance.against(sent)(simulated)
        assert torch.isfinite(value)
        assert torch.isfinite(cotangents["w"]).all()


def test_a_channel_is_a_distance(pair: tuple[Values, Values]) -> None:
    class Half:
        def distance(self, simulated: Values, sent: Values) -> Tensor:
            return (flat(simulated) - flat(sent)).square().sum() / 2

        def decode(self, sent: Values) -> dict[str, Tensor]:
            return dict(sent)

        def variance(self, sent: Values) -> dict[str, Tensor]:
            return {name: torch.ones_like(value) for name, value in sent.items()}

        def forward(self, simulated: Values) -> dict[str, Tensor]:
            return dict(simulated)

    simulated, sent = pair
    value, cotangents = ChannelDistance(channel=Half()).against(sent)(simulated)
    assert torch.isclose(value, (flat(simulated) - flat(sent)).square().sum() / 2)
    assert torch.allclose(flat(cotangents), flat(simulated) - flat(sent))
