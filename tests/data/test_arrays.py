"""Arrays in memory: every accepted shape gives the same pictures, every other one a sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradiometer.core import BadConfig, BadInput
from gradiometer.data import from_arrays, normalized

COLOR = np.random.default_rng(0).integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
Y = np.arange(20) % 4


def test_shapes_and_types_that_mean_the_same():
    known = from_arrays(COLOR, Y).private["x"]
    assert known.shape == (8, 3, 6, 5)
    same = [
        COLOR.transpose(0, 3, 1, 2),
        COLOR.astype(np.int64),
        COLOR / 255,
        torch.tensor(COLOR),
        COLOR.astype("f4") / 255,
    ]
    for x in same:
        assert torch.allclose(from_arrays(x, Y[:, None]).private["x"], known, atol=1e-6)
    assert from_arrays(COLOR[..., 0], Y).layout["x"].shape == (1, 6, 5)


@given(
    st.integers(1, 60),
    st.floats(0, 0.99),
    st.floats(0, 0.99),
    st.integers(0, 5),
    st.one_of(st.none(), st.integers(1, 70)),
)
def test_every_example_lies_on_exactly_one_side(n, public_share, test_share, seed, limit):
    x = np.arange(n, dtype=np.uint8)[:, None, None]
    settings = {"public_share": public_share, "test_share": test_share, "seed": seed, "limit": limit}
    used = min(n, limit or n)
    held_out = round(test_share * used)
    if held_out + round(public_share * (used - held_out)) == used:
        with pytest.raises(BadInput, match="private"):
            from_arrays(x, np.zeros(n, int), **settings)
        return
    data = from_arrays(x, np.zeros(n, int), **settings)
    sides = [side["x"].flatten() * 255 for side in (data.private, data.public, data.test) if side is not None]
    seen = torch.cat(sides).round().int().tolist()
    assert len(seen) == len(set(seen)) == used


def test_dealing_is_deterministic_and_given_tests_stay_tests():
    one, two, other = (from_arrays(COLOR, Y, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.private["x"], two.private["x"])
    assert not torch.equal(one.private["x"], other.private["x"])
    assert (one.private.size, one.public.size, one.test.size) == (8, 8, 4)
    given_test = from_arrays(COLOR, Y, x_test=COLOR[:3], y_test=Y[:3], public_share=0.25)
    assert (given_test.private.size, given_test.public.size, given_test.test.size) == (15, 5, 3)
    assert sorted(given_test.test["y"].tolist()) == [0, 1, 2]
    alone = from_arrays(COLOR, Y, public_share=0.0, test_share=0.0)
    assert (alone.private.size, alone.public, alone.test) == (20, None, None)


def test_arguments_are_not_written_to():
    x = (COLOR / 255).astype("f4")
    before = x.copy()
    from_arrays(x, Y, public_share=0.0, test_share=0.0).private["x"].zero_()
    assert (x == before).all()


def test_normalized():
    plain = from_arrays(COLOR, Y)
    other = normalized(plain, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    assert torch.allclose(other.private["x"][:, 1], (plain.private["x"][:, 1] - 0.2) / 0.6)
    back = normalized(other, mean=(0.0,), std=(1.0,))
    assert torch.allclose(back.test["x"], plain.test["x"], atol=1e-6)
    for mean, std in [((0.1, 0.2), (1.0, 1.0)), ((0.0,), (0.0,)), ((), ())]:
        with pytest.raises(BadConfig, match="normalized"):
            normalized(plain, mean=mean, std=std)


@pytest.mark.parametrize(
    ("x", "y", "settings", "says"),
    [
        (COLOR, Y[:5], {}, "20 pictures and 5 labels"),
        (COLOR, Y / 2, {}, "integers"),
        (COLOR, Y - 1, {}, "count from 0"),
        (COLOR, Y + 10**9, {}, "below 100000"),
        (COLOR, np.eye(20, dtype=int), {}, "integers"),
        (COLOR[..., :2], Y, {}, "1 or 3 channels"),
        (np.zeros(()), Y, {}, "1 or 3 channels"),
        (COLOR / 100, Y, {}, r"0\.\.1"),
        (COLOR.astype(int) * 300, Y, {}, r"0\.\.255"),
        (np.full((20, 4, 4), np.nan), Y, {}, r"nan"),
        (np.full((20, 4, 4), "a"), Y, {}, "numbers"),
        (COLOR[:0], Y[:0], {}, "0 pictures"),
        (COLOR[:, :0], Y, {}, "no pixels"),
        (COLOR, Y, {"names": ("a", "b")}, "only 2 class names"),
        (COLOR, Y, {"public_share": 0.99}, "private side"),
        (COLOR, Y, {"x_test": COLOR[:, :4], "y_test": Y}, "test pictures have shape"),
        (COLOR, Y, {"x_test": COLOR}, "test labels"),
    ],
)
def test_what_does_not_fit(x, y, settings, says):
    with pytest.raises(BadInput, match=says):
        from_arrays(x, y, **settings)


def test_all_settings_that_are_wrong_come_together():
    with pytest.raises(BadConfig) as caught:
        from_arrays(COLOR, Y, public_share=1.5, test_share=-1.0, limit=0)
    assert len(caught.value.problems) == 3
