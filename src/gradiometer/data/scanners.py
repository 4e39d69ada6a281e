"""Pictures of two scanners: a site effect that has nothing to do with the label, for property inference."""

from __future__ import annotations

from dataclasses import replace

import torch

from gradiometer.core import BadConfig, Batch, Data, DataCard, Layout, derive

from .medical import medical, medical_card

scanners_card = DataCard(
    name="scanners",
    source=f"{medical_card.source}; half of them as a second scanner would show them",
    license=medical_card.license,
    public=True,
)
MARK = "scanner"
"""The named tensor [n] that says which scanner took a picture: 0 or 1. No model is told."""


def scanned(
    batch: Batch, layout: Layout, marks: torch.Tensor, contrast: float = 0.8, brightness: float = 0.05
) -> Batch:
    """The batch with pixels `(p - 1/2) contrast + 1/2 + brightness`, cut to [0,1], where `marks` [n] is 1.

    Args:
        contrast: > 0; 1 with a brightness of 0 makes both scanners alike.
        brightness: in units of the full range of gray.
    """
    if not contrast > 0 or not -1 < brightness < 1:
        raise BadConfig(f"a scanner needs a positive contrast and brightness in (-1, 1): {contrast}, {brightness}")
    field = layout["x"]
    pixels = ((field.denormalize(batch["x"]) - 0.5) * contrast + 0.5 + brightness).clamp(field.low, field.high)
    second = marks.bool().reshape(-1, *[1] * len(field.shape))
    x = torch.where(second, field.normalize(pixels).to(batch["x"]), batch["x"])
    return batch.replace(x=x, **{MARK: marks.long()})


def two_scanners(data: Data, *, contrast: float = 0.8, brightness: float = 0.05, seed: int = 0) -> Data:
    """The same data, every example from one of two scanners by the toss of a coin: independent of its label."""
    sides = {}
    for name in ("private", "public", "test"):
        batch: Batch | None = getattr(data, name)
        if batch is not None:
            marks = torch.randint(2, (batch.size,), generator=derive(seed, "scanner", name))
            sides[name] = scanned(batch, data.layout, marks, contrast, brightness)
    return replace(data, **sides)  # type: ignore[arg-type]


def scanners(size: int = 32, contrast: float = 0.8, brightness: float = 0.05, seed: int = 0) -> Data:
    """The tiles of `medical`, half of them from a second scanner: less contrast, and brighter.

    Args:
        size, seed: as in `medical`.
        contrast, brightness: of the second scanner, as in `scanned`.

    Returns:
        As `medical`, with one more named tensor `scanner` [n] of 0 and 1, which no model is told.
    """
    data = replace(medical(size, seed), card=scanners_card)
    return two_scanners(data, contrast=contrast, brightness=brightness, seed=seed)
