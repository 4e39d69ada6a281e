"""Guess: what an attack claims about the private batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Guess:
    """The claim of an attack. It never holds a truth.

    Args:
        tensors: named like the private batch and in the same units; `x` [n, ...], `y` [n]. A name may be missing.
        confidence: the attack's own figure in [0, 1] an example, or None.
        objective: final value of what the attack minimized, or None for closed forms.
        curve: the objective over the iterations.
        notes: what was used and what happened: fallbacks, iterations, starts, stop reason. JSON-like values only.
    """

    tensors: Mapping[str, Tensor]
    confidence: Tensor | None = None
    objective: float | None = None
    curve: tuple[float, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> Guess:
        """The same guess with its tensors on a device."""
        tensors = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        return replace(
            self, tensors=tensors, confidence=None if self.confidence is None else self.confidence.to(device)
        )

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __contains__(self, name: str) -> bool:
        return name in self.tensors
