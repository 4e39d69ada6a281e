"""What a figure means: its unit, and which way leakage lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class MetricCard:
    """A metric, for catalogue pages and reports.

    Args:
        summary: one sentence.
        unit: `dB`, `rank`, or empty for a pure number.
        leak: whether `higher` or `lower` values mean that more has leaked.
        low, high: the range of values.
        source: where it comes from.
    """

    summary: str
    leak: Literal["higher", "lower"]
    unit: str = ""
    low: float = 0.0
    high: float = 1.0
    source: str = ""
