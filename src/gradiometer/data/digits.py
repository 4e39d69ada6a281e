"""Handwritten digits that come with scikit-learn."""

from __future__ import annotations

from gradiometer.core import BadConfig, Data, DataCard

from .arrays import from_arrays

digits_card = DataCard(
    name="digits",
    source="Alpaydin, Kaynak, Optical Recognition of Handwritten Digits, 1998, as in scikit-learn",
    license="CC BY 4.0 (UCI)",
    public=True,
)


def digits(size: int = 8, *, public_share: float = 0.5, test_share: float = 0.2, seed: int = 0) -> Data:
    """1797 digits of 8 x 8 pixels in 17 gray levels, ten classes, [1, size, size].

    Args:
        size: larger sizes are interpolated bilinearly, for models that need them; they hold no more than 8 x 8 do.
        public_share, test_share, seed: as in `from_arrays`.
    """
    import torch
    from sklearn.datasets import load_digits
    from torch.nn import functional as F

    if size < 8:
        raise BadConfig(f"digits have at least 8 x 8 pixels, got size {size}")
    raw = load_digits()
    x = torch.tensor(raw.images, dtype=torch.float32)[:, None] / 16
    if size != 8:
        x = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
    return from_arrays(x, raw.target, card=digits_card, public_share=public_share, test_share=test_share, seed=seed)
