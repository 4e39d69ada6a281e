"""What every path of the engine takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from gradiometer.core import Batch
from gradiometer.numerics.terms import Inputs

Decode = Callable[[Sequence[Tensor]], Batch]
Penalty = Callable[[Batch, Inputs], Tensor]


@dataclass(frozen=True, kw_only=True)
class Point:
    """The objective at one unknown: its value, the distance alone, and the derivative by every unknown tensor.

    `mixed`: computed in mixed precision; good to descend, not to compare.
    """

    value: float
    distance: float
    gradient: list[Tensor]
    mixed: bool = False
