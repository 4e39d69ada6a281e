"""Dealing examples to the two sides of the wall."""

import pytest
import torch

from gradiometer.core import BadConfig, BadInput, Batch
from gradiometer.data import dealing


def test_sides_are_disjoint_whole_and_sized_by_their_shares() -> None:
    known = Batch({"x": torch.zeros(20, 1), "y": torch.arange(20)})
    private, public, test = dealing.dealt(known, public_share=0.5, test_share=0.2)
    assert public is not None
    assert test is not None
    assert [side.size for side in (private, public, test)] == [8, 8, 4]
    assert sorted(torch.cat([side["y"] for side in (private, public, test)]).tolist()) == list(range(20))


def test_without_shares_everything_is_private() -> None:
    known = Batch({"x": torch.zeros(3, 1)})
    sides = dealing.dealt(known, public_share=0.0, test_share=0.0)
    assert sides.private.size == 3
    assert sides.public is None
    assert sides.test is None


def test_nothing_left_for_the_private_side_is_refused() -> None:
    known = Batch({"x": torch.zeros(2, 1)})
    with pytest.raises(BadInput, match="no image is left"):
        dealing.dealt(known, public_share=0.9, test_share=0.4, what="image")


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(BadConfig) as caught:
        dealing.refuse_unless_dealable("images", public_share=1.0, test_share=-0.1, limit=0, size=None)
    assert len(caught.value.problems) == 3
