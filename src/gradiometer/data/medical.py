"""Medical tiles that come with scikit-image: a hospital that everybody may look into."""

from __future__ import annotations

from gradiometer.core import Data, DataCard

from .tiles import Pixels, Source, cut_tiles

medical_card = DataCard(
    name="medical",
    source="tiles of scikit-image's retina.jpg, ihc.png, cell.png and microaneurysms.png",
    license="CC0 1.0 (retina, cell, microaneurysms); no known copyright restrictions (histology)",
    public=True,
)


def _stain(tile: Pixels) -> str | None:
    """Brown (DAB) marks the gland's epithelium; blue and white is stroma; mixed tiles have no one label."""
    brown = (tile[..., 0] - tile[..., 2] > 0.1).mean()
    return "gland" if brown > 0.6 else "stroma" if brown < 0.2 else None


SOURCES = (
    # The largest square inside the round field of view.
    Source(file="retina.jpg", names=("retina",), block=124, box=(206, 206, 1204, 1204)),
    Source(file="ihc.png", names=("gland", "stroma"), block=64, label=_stain),
    # The cell and its dark rim; the rest of the hologram is flat.
    Source(file="cell.png", names=("cell",), block=60, box=(285, 338, 465, 518)),
    Source(file="microaneurysms.png", names=("microaneurysms",), block=34, stretch=True),
)


def medical(size: int = 32, seed: int = 0) -> Data:
    """Five classes of medical tiles: retina, gland and stroma (histology), cell, microaneurysms.

    Args:
        size: side of a tile in pixels.
        seed: which parts of the pictures are private, public and test.

    Returns:
        24 private, 40 public and 20 test tiles of each class (with some seeds a few less), [3, size, size]. Private,
        public and test tiles have no pixel in common. Gray pictures (cell, microaneurysms) have three equal channels.
    """
    return cut_tiles(SOURCES, size, (24, 40, 20), medical_card, seed)
