"""Pictures at the 256 levels of files: which are taken for the ones that were sent."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from gradiometer.attacks.image.picturing import CHOICES, Pictures, Way
from gradiometer.attacks.image.verifying import FLOAT32_LIMIT
from gradiometer.core import image_layout

LAYOUT = image_layout((3, 8, 8), 10, mean=(0.0,) * 3, std=(1.0,) * 3)
TRUTH = torch.randint(1, 255, (2, 3, 8, 8), generator=torch.Generator().manual_seed(0)) / 255


def searched(verdict: tuple[float, float]) -> tuple[Pictures, Way]:
    """A search whose verifier says this, and whose gradients are as far apart as the pictures; and the true pictures."""

    def distance(x: Tensor) -> float:
        return float((x - TRUTH).norm())

    verifier: Any = SimpleNamespace(
        distance=distance, verdict=lambda x, rng: verdict, update=SimpleNamespace(layout=LAYOUT)
    )
    return Pictures(found=cast(Any, None), verifier=verifier, evaluations=1), Way(x=TRUTH, name="", verifier=verifier)


def test_a_pixel_between_two_levels_takes_the_one_whose_gradient_is_nearer() -> None:
    search, way = searched((0.0, FLOAT32_LIMIT))
    fine, wrong = TRUTH.clone(), TRUTH.clone()
    fine[1, 2, 3, 4] += 0.55 / 255
    wrong[1, 2, 3, 4] += 1 / 255
    fine[0, 0, 0, 0] += 0.45 / 255
    chosen = search._chosen(replace(way, x=wrong), fine)
    assert torch.allclose(chosen.x, TRUTH, atol=1e-6)


@pytest.mark.parametrize(
    ("verdict", "doubts", "agrees"),
    [
        ((FLOAT32_LIMIT, FLOAT32_LIMIT), 2 * CHOICES, True),
        ((1e-4, 2e-4), CHOICES, True),
        ((1e-4, 2e-4), CHOICES + 1, False),
        ((3e-4, 2e-4), 0, False),
    ],
)
def test_kinks_excuse_a_gradient_only_where_few_pixels_are_in_doubt(
    verdict: tuple[float, float], doubts: int, agrees: bool
) -> None:
    search, way = searched(verdict)
    fine = TRUTH.clone()
    fine.view(-1)[:doubts] += 0.45 / 255
    assert search._agrees(way, fine, torch.Generator()) is agrees
