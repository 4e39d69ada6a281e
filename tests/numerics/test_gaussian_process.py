"""Gaussian processes: they pass through what is known, doubt what is not, and see which entries matter."""

from __future__ import annotations

import torch

from gradiometer.core import derive
from gradiometer.numerics.gaussian_process import GaussianProcess


def test_it_interpolates_a_smooth_function_and_sees_which_entry_matters() -> None:
    x = torch.rand(60, 3, generator=derive(0), dtype=torch.float64)
    y = torch.sin(4 * x[:, 0])
    mean, spread = y.mean(), y.std()
    process = GaussianProcess.fitted(x, (y - mean) / spread)
    known, doubt = process.posterior(x)
    assert torch.allclose(known * spread + mean, y, atol=0.01)
    assert float(doubt.diagonal().max()) < 1e-3
    new = torch.rand(20, 3, generator=derive(1), dtype=torch.float64)
    assert torch.allclose(process.posterior(new)[0] * spread + mean, torch.sin(4 * new[:, 0]), atol=0.1)
    assert process.lengths.argmin() == 0


def test_far_from_everything_it_knows_nothing_and_samples_say_so() -> None:
    x = 0.01 * torch.rand(10, 2, generator=derive(0), dtype=torch.float64)
    process = GaussianProcess(
        x=x,
        root=torch.eye(10, dtype=x.dtype),
        weights=torch.zeros(10, dtype=x.dtype),
        lengths=torch.full((2,), 0.1, dtype=x.dtype),
    )
    far = torch.tensor([[5.0, 5.0], [9.0, 9.0]], dtype=x.dtype)
    mean, covariance = process.posterior(far)
    assert torch.allclose(mean, torch.zeros(2, dtype=x.dtype))
    assert torch.allclose(covariance, torch.eye(2, dtype=x.dtype), atol=1e-6)
    drawn = process.samples(far, 4000, derive(1))
    assert abs(float(drawn.std()) - 1) < 0.05
