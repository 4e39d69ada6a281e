"""Tiles cut from large pictures, so that no pixel lies on two sides of the wall."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import torch

from gradiometer.core import BadConfig, BadInput, Batch, Data, DataCard, derive, image_layout

Pixels = np.ndarray
SIDES = ("private", "public", "test")
SHARES = (3, 4, 2)
FLATTEST = 0.04
NEAREST = 0.6


@dataclass(frozen=True, kw_only=True)
class Source:
    """A picture inside scikit-image's package, to be cut.

    Args:
        file: its name there. It is read from the package and never downloaded.
        names: the classes of its tiles.
        block: side in pixels of the squares that are dealt to the sides. Tiles are cut inside of blocks only.
        box: top, left, bottom, right of the part that is used.
        stretch: spreads the gray values of the whole picture over the full range, as viewers of such pictures do.
        label: picks one of `names` for a tile [side, side, 3] in [0,1], or None to leave it out.
    """

    file: str
    names: tuple[str, ...]
    block: int
    box: tuple[int, int, int, int] | None = None
    stretch: bool = False
    label: Callable[[Pixels], str | None] | None = None

    def read(self) -> Any:
        """The picture, in color."""
        from PIL import Image, ImageOps

        path = files("skimage.data") / self.file
        if not path.is_file():
            raise BadInput(f"scikit-image does not bring {self.file}", fix="install scikit-image >= 0.22 anew")
        with path.open("rb") as stream, Image.open(stream) as picture:
            color = picture.convert("RGB")
        if self.stretch:
            color = ImageOps.autocontrast(color, cutoff=0.1)
        return color if self.box is None else color.crop((self.box[1], self.box[0], self.box[3], self.box[2]))


@dataclass(frozen=True)
class _Window:
    top: int
    left: int
    side: int

    def likeness(self, other: _Window) -> float:
        """Shared area over united area."""
        height = min(self.top + self.side, other.top + other.side) - max(self.top, other.top)
        width = min(self.left + self.side, other.left + other.side) - max(self.left, other.left)
        shared = max(height, 0) * max(width, 0)
        return shared / (self.side**2 + other.side**2 - shared)


def windows(top: int, left: int, block: int) -> list[_Window]:
    """The 14 tiles of a block: the whole, four of 3/4 of its side, nine of half its side."""
    cut = []
    for side, places in ((block, 1), (3 * block // 4, 2), (block // 2, 3)):
        step = (block - side) // max(places - 1, 1)
        cut += [_Window(top + i * step, left + j * step, side) for i in range(places) for j in range(places)]
    return cut


def cut_tiles(sources: Sequence[Source], size: int, counts: tuple[int, int, int], card: DataCard, seed: int) -> Data:
    """Cuts, labels and deals tiles.

    Every picture is divided into square blocks, which are dealt to private, public and test in shares of 3 : 4 : 2.
    Tiles are cut at three scales inside of each block and resized to `size`. Left out are tiles that are nearly constant
    (standard deviation below 0.04 in every channel), that the source cannot label, and that overlap another tile of the
    same side too much (shared over united area above 0.6).

    Args:
        counts: at most so many tiles of each class on the private, public and test side.
        seed: which block goes where, and which tiles are taken.

    Returns:
        Data with `x` [n, 3, size, size] in [0,1] and `y` [n], in random order.
    """
    if size < 8:
        raise BadConfig(f"tiles need at least 8 x 8 pixels, got {size}")
    names = tuple(name for source in sources for name in source.names)
    sides: dict[str, list[tuple[Pixels, int]]] = {side: [] for side in SIDES}
    for source in sources:
        picture, rng = source.read(), derive(seed, "tiles", source.file)
        b = source.block
        blocks = [(r, c) for r in range(0, picture.height - b + 1, b) for c in range(0, picture.width - b + 1, b)]
        blocks = [blocks[i] for i in torch.randperm(len(blocks), generator=rng).tolist()]
        ends = np.rint(np.cumsum((0, *SHARES)) * len(blocks) / sum(SHARES)).astype(int)
        for side, count, first, last in zip(SIDES, counts, ends, ends[1:]):
            offers = [window for block in blocks[first:last] for window in windows(*block, b)]
            offers = [offers[i] for i in torch.randperm(len(offers), generator=rng).tolist()]
            for name, taken in _take(source, picture, offers, size, count).items():
                sides[side] += [(tile, names.index(name)) for tile in taken]
    batches = {}
    for side, tiles in sides.items():
        order = torch.randperm(len(tiles), generator=derive(seed, "tiles", side)).tolist()
        x = torch.tensor(np.stack([tiles[i][0] for i in order]), dtype=torch.float32).permute(0, 3, 1, 2).contiguous()
        batches[side] = Batch(x=x, y=torch.tensor([tiles[i][1] for i in order]))
    private, public, test = (batches[side] for side in SIDES)
    layout = image_layout((3, size, size), len(names))
    return Data(private=private, public=public, test=test, layout=layout, card=card, names=names)


def _take(source: Source, picture: Any, offers: list[_Window], size: int, count: int) -> dict[str, list[Pixels]]:
    """Up to `count` tiles a class, in the order offered."""
    from PIL import Image

    taken: dict[str, list[Pixels]] = {name: [] for name in source.names}
    places: list[_Window] = []
    for window in offers:
        corner = (window.left, window.top, window.left + window.side, window.top + window.side)
        tile = picture.crop(corner).resize((size, size), Image.Resampling.BICUBIC)
        value = np.asarray(tile, dtype=np.float64) / 255
        name = source.label(value) if source.label else source.names[0]
        if name is None or len(taken[name]) == count or value.std((0, 1)).max() < FLATTEST:
            continue
        if all(window.likeness(place) <= NEAREST for place in places):
            taken[name].append(value)
            places.append(window)
    return taken
