"""gradiometer: measures what federated learning really leaks, and what to do about it.

Importing it costs next to nothing: torch, the rooms and optional packages load when a name is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import attacks, audit, data, defenses, metrics, models, report
    from .audit import scan
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
        play_sum,
        save_update,
    )

__version__ = "0.1.0"

_ROOMS = ("attacks", "audit", "core", "data", "defenses", "metrics", "models", "report")
_HOMES = {"scan": "audit"}  # every other name is at home in core

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
    "play_sum",
    "report",
    "save_update",
    "scan",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f".{name}", __name__)
    if name in __all__:
        return getattr(importlib.import_module(f".{_HOMES.get(name, 'core')}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
