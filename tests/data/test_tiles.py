"""The built-in pictures: enough, balanced, not flat, the same every time, and no pixel on two sides of the wall."""

from __future__ import annotations

import socket

import pytest
import torch

from gradiometer.core import BadConfig, BadInput
from gradiometer.data import DATA, digits, medical, photographs
from gradiometer.data import medical as medical_function
from gradiometer.data.tiles import Source, cut_tiles, windows


@pytest.fixture(scope="module")
def tiles():
    return medical()


def test_medical_tiles_are_enough_and_balanced(tiles):
    counts = [torch.bincount(side["y"], minlength=5).tolist() for side in (tiles.private, tiles.public, tiles.test)]
    assert counts == [[24] * 5, [40] * 5, [20] * 5]
    assert tiles.names == ("retina", "gland", "stroma", "cell", "microaneurysms")
    assert tiles.layout["x"].shape == (3, 32, 32)
    assert tiles.card.public
    for side in (tiles.private, tiles.public, tiles.test):
        assert side["x"].dtype == torch.float32
        assert 0 <= side["x"].min() < side["x"].max() <= 1
        assert side["x"].std((2, 3)).max(1).values.min() > 0.039
        gray = side["y"] >= 3
        assert side["x"][gray].std(1).max() < 1e-6
        assert side["x"][~gray].std(1).amax((1, 2)).min() > 0.01


@pytest.mark.parametrize("seed", range(4))
def test_other_seeds_cut_other_tiles(tiles, seed):
    other = medical(seed=seed)
    assert min(torch.bincount(other.private["y"]).tolist()) >= 20
    assert min(torch.bincount(other.test["y"]).tolist()) >= 15
    assert torch.equal(other.private["x"], tiles.private["x"]) == (seed == 0)


def test_sides_share_no_pixel():
    """Pictures whose pixels are all different: a pixel that two tiles share would show its value on both sides."""
    names, block = ("numbered",), 20

    class Numbered(Source):
        def read(self):
            import numpy as np
            from PIL import Image

            rows, columns = np.divmod(np.arange(60 * 80), 80)
            return Image.fromarray(np.stack([4 * rows, 3 * columns, 0 * rows], 1).reshape(60, 80, 3).astype("uint8"))

    source = Numbered(file="numbered", names=names, block=block)
    data = cut_tiles([source], block, (30, 30, 30), medical().card, seed=0)
    blocks = []
    for side in (data.private, data.public, data.test):
        # Resizing never leaves the crop by half a pixel: a tile's rows and columns are those of one block.
        place = side["x"][:, :2] * 255 / torch.tensor([4.0, 3.0])[:, None, None]
        first, last = ((place.amin((2, 3)) + 0.51) // block).int(), ((place.amax((2, 3)) - 0.51) // block).int()
        assert torch.equal(first, last)
        blocks.append({tuple(pair) for pair in first.tolist()})
    assert sum(map(len, blocks)) == len(set.union(*blocks)) == 3 * 4


def test_windows_stay_in_their_block():
    cut = windows(10, 20, 34)
    assert len(set(cut)) == 14
    assert all(w.top >= 10 and w.top + w.side <= 44 and w.left >= 20 and w.left + w.side <= 54 for w in cut)


@pytest.mark.parametrize("size", [8, 28, 64])
def test_any_size(size):
    data = medical(size)
    assert data.private["x"].shape[1:] == (3, size, size)
    assert data.private.size + data.public.size >= 300


def test_photographs_and_digits():
    photos = photographs(16)
    assert len(photos.names) == 10
    assert torch.bincount(photos.private["y"]).tolist() == [24] * 10
    small = digits()
    assert (small.private.size, small.public.size, small.test.size) == (719, 719, 359)
    assert small.layout["x"].shape == (1, 8, 8)
    large = digits(32)
    assert large.layout["x"].shape == (1, 32, 32)
    assert torch.equal(large.private["y"], small.private["y"])
    assert small.private["x"].max() == 1


def test_nothing_is_downloaded(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("asked for the network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name in ("medical", "photographs", "digits"):
        data = DATA[name][0]()
        assert data.card is DATA[name][1]
        assert data.card.public
        assert data.card.license


def test_what_cannot_be_cut():
    assert medical_function is DATA["medical"][0]
    for make in (medical, photographs, digits):
        with pytest.raises(BadConfig, match="8 x 8"):
            make(4)
    with pytest.raises(BadInput, match=r"does not bring nowhere\.png"):
        Source(file="nowhere.png", names=("a",), block=8).read()
