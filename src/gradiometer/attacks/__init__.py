"""Attacks: how the observer reads an update. `image` and `generative` reconstruct pictures, `text` sentences, `inference` labels and presence.

A room is loaded when the first of its names is asked for; `text` and what only specialists want are imported from their rooms.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .differencing import difference_of_rounds, without_colluders
    from .generative import GGL, GIAS, GIFD, ROG, CINet, GuidedDiffusion
    from .image import (
        APRIL,
        DLG,
        IDLG,
        AutoMatching,
        FedAvgMatching,
        GIAEstimate,
        GIARunning,
        Huang,
        InvertingGradients,
        LinearBias,
        Modern,
        Recursive,
        SeeThrough,
    )
    from .inference import ILRG, LLG, RLG, IDLGLabels, LLGPlus, PriorAware, PropertyInference, RareClass, RowSum
    from .learned import Denoised, LearningToInvert, RidgeInversion
    from .matching import Matching

_ROOMS = ("differencing", "matching", "inference", "image", "generative", "learned")

__all__ = [
    "APRIL",
    "DLG",
    "GGL",
    "GIAS",
    "GIFD",
    "IDLG",
    "ILRG",
    "LLG",
    "RLG",
    "ROG",
    "AutoMatching",
    "CINet",
    "Denoised",
    "FedAvgMatching",
    "GIAEstimate",
    "GIARunning",
    "GuidedDiffusion",
    "Huang",
    "IDLGLabels",
    "InvertingGradients",
    "LLGPlus",
    "LearningToInvert",
    "LinearBias",
    "Matching",
    "Modern",
    "PriorAware",
    "PropertyInference",
    "RareClass",
    "Recursive",
    "RidgeInversion",
    "RowSum",
    "SeeThrough",
    "difference_of_rounds",
    "without_colluders",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        for room in _ROOMS:
            found = importlib.import_module(f".{room}", __name__)
            if name in getattr(found, "__all__", vars(found)):
                return getattr(found, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
