"""Guard: how a client judges the model that it was sent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import nn

from .batch import Batch
from .card import Card


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """A guard's judgment: `p_value` of what it saw under an honest server, and the evidence in words and numbers."""

    p_value: float
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Guard(ABC):
    """Inspects what comes in. Subclasses are frozen dataclasses."""

    card: ClassVar[Card]

    @abstractmethod
    def inspect(self, model: nn.Module, history: Sequence[nn.Module] = (), probe: Batch | None = None) -> Alarm:
        """Judges a received model, given earlier ones and the client's own data."""
