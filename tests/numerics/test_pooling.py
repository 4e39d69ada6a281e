"""Pooled features: known values, and blind to the update's length."""

from __future__ import annotations

import torch

from gradiometer.core import derive
from gradiometer.numerics.pooling import pooled_features


def test_known_values() -> None:
    """||v|| = 5; of [3, -4] in two runs norm, maxima and means; of [0] likewise."""
    found = pooled_features({"a": torch.tensor([3.0, -4.0]), "b": torch.zeros(1)}, most=2)
    assert torch.allclose(found, torch.tensor([1.0, 0.0, 0.6, 0.8, 0.6, -0.8, 0.0, 0.0], dtype=torch.float64))


def test_runs_cover_every_entry() -> None:
    value = torch.zeros(1000)
    for place in (0, 137, 999):
        spiked = value.clone()
        spiked[place] = -2.0
        found = pooled_features({"w": spiked.reshape(10, 100)}, most=7)
        assert found[1:8].max() == 1.0
        assert torch.isclose(found[8:].sum() * 1000 / 7, torch.tensor(-1.0, dtype=torch.float64), atol=0.02)


def test_length_is_not_told() -> None:
    values = {"w": torch.randn(50, 3, generator=derive(0))}
    scaled = {"w": 1e-3 * values["w"]}
    assert torch.allclose(pooled_features(values, 8), pooled_features(scaled, 8), atol=1e-6)
    assert pooled_features({"w": torch.zeros(5)}, 8).isfinite().all()
