"""Two scanners: independent of the label, legal pixels, in whatever units the model takes them."""

from __future__ import annotations

import pytest
import torch

from gradiometer.core import BadConfig, derive
from gradiometer.data import medical, normalized, scanned, scanners, two_scanners
from gradiometer.data.scanners import MARK


def test_half_of_each_class_comes_from_the_second_scanner() -> None:
    data, bare = scanners(size=16), medical(size=16)
    assert data.layout == bare.layout
    for side, plain in ((data.private, bare.private), (data.public, bare.public), (data.test, bare.test)):
        marks = side[MARK]
        assert torch.equal(side["y"], plain["y"])
        assert torch.equal(side["x"][marks == 0], plain["x"][marks == 0])
        expected = (plain["x"][marks == 1] - 0.5) * 0.8 + 0.55
        assert torch.allclose(side["x"][marks == 1], expected.clamp(0, 1), atol=1e-6)
        assert 0.3 < float(marks.double().mean()) < 0.7


def test_it_works_on_pixels_whatever_the_model_takes() -> None:
    plain = medical(size=16)
    other = normalized(plain, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    marks = torch.randint(2, (plain.private.size,), generator=derive(0))
    seen = scanned(plain.private, plain.layout, marks, 0.5, 0.2)["x"]
    same = other.layout["x"].denormalize(scanned(other.private, other.layout, marks, 0.5, 0.2)["x"])
    assert torch.allclose(seen, same, atol=1e-5)


def test_equal_scanners_change_nothing_and_none_without_contrast() -> None:
    plain = medical(size=16)
    same = two_scanners(plain, contrast=1.0, brightness=0.0)
    assert torch.allclose(same.private["x"], plain.private["x"], atol=1e-6)
    with pytest.raises(BadConfig, match="contrast"):
        two_scanners(plain, contrast=0.0)
