"""Ridge regression against its normal equations, and the sketch against inner products."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gradiometer.core import derive
from gradiometer.numerics.ridge import STRENGTHS, RidgePath, decibels, wiener
from gradiometer.numerics.sketch import CountSketch, unit_tensors


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=derive(seed, "ridge"), dtype=torch.float64)


@pytest.mark.parametrize(("rows", "features"), [(60, 20), (30, 90)], ids=["primal", "dual"])
def test_solves_its_normal_equations_at_the_best_strength(rows: int, features: int) -> None:
    f, held, w = normal(rows, features), normal(40, features, seed=1), normal(features, 3, seed=2)
    y, held_y = f @ w + normal(rows, 3, seed=3), held @ w + normal(40, 3, seed=4)
    found = RidgePath(f, held).fit(y, held_y)
    top = torch.linalg.eigvalsh(f.T @ f)[-1]

    def solved(strength: float) -> Tensor:
        left = f.T @ f + strength * top * torch.eye(features, dtype=torch.float64)
        return torch.linalg.solve(left, f.T @ y)

    assert torch.allclose(found.weights, solved(found.strength), atol=1e-6)
    reached = [decibels(held @ solved(s) - held_y) for s in STRENGTHS.tolist() if s > 1e-6]
    assert found.decibels == pytest.approx(max(reached), abs=1e-3)


def test_what_cannot_be_predicted_is_not() -> None:
    path = RidgePath(normal(50, 10), normal(400, 10, seed=2))
    found = path.fit(normal(50, 2, seed=1), normal(400, 2, seed=3))
    assert found.weights.abs().max() < 0.2
    exact = path.fit(0 * normal(50, 2), 0 * normal(400, 2))
    assert exact.strength == float("inf")
    assert not exact.weights.any()


def test_a_wiener_filter_shrinks_by_signal_over_signal_and_noise() -> None:
    """Independent entries of variance 4 with noise of variance 1, and with none: 4 / 5, and 1."""
    clean = 2 * normal(20_000, 2) + 3
    noise = normal(20_000, 2, seed=1) * torch.tensor([1.0, 0.0]) + 0.5
    filter, offset = wiener(clean, noise)
    assert torch.allclose(filter, torch.tensor([[0.8, 0.0], [0.0, 1.0]], dtype=torch.float64), atol=0.03)
    assert torch.allclose(((clean + noise) @ filter + offset).mean(0), clean.mean(0), atol=1e-6)


def test_a_sketch_keeps_inner_products() -> None:
    """Its variance is at most 2 / length for unit vectors."""
    u, v = (t / t.norm() for t in (normal(5000), normal(5000) + normal(5000, seed=1)))
    products = [float(s(u) @ s(v)) for s in (CountSketch.draw(5000, 500, derive(i)) for i in range(50))]
    assert abs(sum(products) / 50 - float(u @ v)) < 4 * (2 / 500 / 50) ** 0.5
    assert torch.equal(CountSketch.draw(10, 10, derive(0))(u[:10]), u[:10])


def test_every_tensor_counts_alike() -> None:
    flat = unit_tensors({"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([[1e-4]]), "c": torch.zeros(2)})
    assert flat.tolist() == pytest.approx([0.6, 0.8, 1.0, 0.0, 0.0])
