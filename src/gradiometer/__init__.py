"""gradiometer: measures what federated learning really leaks, and what to do about it.

Importing it costs little more than torch: rooms and optional packages load when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .core import (
    Attack,
    BadConfig,
    BadInput,
    Batch,
    Card,
    Client,
    Data,
    DataCard,
    Defense,
    Field,
    GradiometerError,
    Guard,
    Guess,
    MissingKnowledge,
    NotApplicable,
    Recipe,
    Threat,
    Unsupported,
    Update,
    image_layout,
    load_update,
    play,
    save_update,
)

if TYPE_CHECKING:
    from . import attacks, audit, data, defenses, metrics, models, report
    from .audit import scan

__version__ = "0.1.0"

_LAZY_ROOMS = ("attacks", "audit", "data", "defenses", "metrics", "models", "report")
_LAZY_NAMES = {"scan": "audit"}

__all__ = [
    "Attack",
    "BadConfig",
    "BadInput",
    "Batch",
    "Card",
    "Client",
    "Data",
    "DataCard",
    "Defense",
    "Field",
    "GradiometerError",
    "Guard",
    "Guess",
    "MissingKnowledge",
    "NotApplicable",
    "Recipe",
    "Threat",
    "Unsupported",
    "Update",
    "attacks",
    "audit",
    "data",
    "defenses",
    "image_layout",
    "load_update",
    "metrics",
    "models",
    "play",
    "report",
    "save_update",
    "scan",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY_ROOMS:
        return importlib.import_module(f".{name}", __name__)
    if name in _LAZY_NAMES:
        return getattr(importlib.import_module(f".{_LAZY_NAMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
