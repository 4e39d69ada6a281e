"""A median filter for pictures."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def median_filter(x: Tensor, size: int = 3) -> Tensor:
    """Every pixel becomes the median of its `size` x `size` neighborhood, the border being repeated.

    Args:
        x: [n, channels, height, width]; size: odd.

    Returns:
        The same shape.
    """
    margin = size // 2
    padded = F.pad(x, (margin, margin, margin, margin), mode="replicate")
    return padded.unfold(2, size, 1).unfold(3, size, 1).flatten(-2).median(-1).values
