"""Channels: what somebody who knows a defense can compute from what was sent."""

from .bounding import Clamped, Rescaled
from .hidden import Hidden, hide
from .noise import Additive, NoisyDirection
from .rounding import Dithering, RandomRounding, Rounding
from .sequence import Sequence, sequence
from .sparse import Signs, Sparse

__all__ = [
    "Additive",
    "Clamped",
    "Dithering",
    "Hidden",
    "NoisyDirection",
    "RandomRounding",
    "Rescaled",
    "Rounding",
    "Sequence",
    "Signs",
    "Sparse",
    "hide",
    "sequence",
]
