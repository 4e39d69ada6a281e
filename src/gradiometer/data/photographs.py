"""Tiles of the photographs that come with scikit-image, labeled by photograph."""

from __future__ import annotations

from gradiometer.core import Data, DataCard

from .tiles import Source, cut_tiles

photographs_card = DataCard(
    name="photographs",
    source="tiles of ten photographs of scikit-image",
    license="CC0 1.0 or public domain; no known copyright restrictions (coins)",
    public=True,
)

SOURCES = tuple(
    Source(file=file, names=(file.split(".")[0].split("_")[0],), block=block)
    for file, block in [
        ("astronaut.png", 85),
        ("brick.png", 85),
        ("camera.png", 85),
        ("chelsea.png", 75),
        ("coffee.png", 80),
        ("coins.png", 75),
        ("grass.png", 85),
        ("gravel.png", 85),
        ("hubble_deep_field.jpg", 124),
        ("rocket.jpg", 85),
    ]
)


def photographs(size: int = 32, seed: int = 0) -> Data:
    """Ten classes of photographic tiles, [3, size, size]; private, public and test tiles have no pixel in common.

    Args:
        size: side of a tile in pixels.
        seed: which parts of the photographs are private, public and test.
    """
    return cut_tiles(SOURCES, size, (24, 40, 20), photographs_card, seed)
