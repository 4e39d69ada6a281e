"""Least squares, the same to the last bit."""

from __future__ import annotations

import torch

from gradiometer.numerics.fit import fit


def test_fit_is_least_squares_of_least_norm() -> None:
    g = torch.Generator().manual_seed(0)
    tall, wide = (
        torch.randn(9, 4, generator=g, dtype=torch.float64),
        torch.randn(3, 5, generator=g, dtype=torch.float64),
    )
    for system in (tall, wide, tall[:, [0, 1, 1, 2]]):
        target = torch.randn(len(system), 2, generator=g, dtype=torch.float64)
        best = torch.linalg.pinv(system) @ target
        torch.testing.assert_close(fit(system, target), best)
        torch.testing.assert_close(fit(system, target[:, 0]), best[:, 0])


def test_fit_repeats_itself_whatever_memory_held_before() -> None:
    g = torch.Generator().manual_seed(1)
    system, target = torch.randn(1000, 100, generator=g), torch.randn(1000, generator=g)
    found = set()
    for turn in range(20):
        junk = [torch.full((size,), turn * 1234567, dtype=torch.int32) for size in (64, 100, 1000)]
        del junk
        found.add(fit(system, target).numpy().tobytes())
    assert len(found) == 1
