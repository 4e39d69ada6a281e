"""Axes of the charts: from values to positions, with round ticks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

HUGE = 1e12


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A linear or logarithmic axis from `low` to `high`, drawn from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The position of a value; what lies beyond the axis is drawn at its end."""
        value = min(max(bounded(value), self.low), self.high)
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return round(self.start + (self.end - self.start) * (at - low) / (high - low), 2)

    def ticks(self, write: Callable[[float], str]) -> list[tuple[float, str]]:
        """Positions and texts of round values within the axis, no text twice."""
        values = log_ticks(self.low, self.high) if self.log else round_ticks(self.low, self.high)
        texts = {write(value): self(value) for value in values}
        return [(position, text) for text, position in texts.items()]


def scale(values: Sequence[float], start: float, end: float, *, limits: tuple[float, float] = (0.0, HUGE)) -> Scale:
    """An axis that shows all values with some air; logarithmic where they span more than a factor of 20."""
    values = [bounded(value) for value in values]
    low, high = min(values), max(values)
    if low > 0 and high / low > 20:
        return Scale(low=low / 1.5, high=high * 1.5, start=start, end=end, log=True)
    air = 0.12 * (high - low) or 0.1 * abs(high) or 0.5
    low, high = max(limits[0], low - air), min(limits[1], high + air)
    return Scale(low=low, high=high if high > low else low + 1, start=start, end=end)


def round_ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten between `low` and `high`."""
    raw = (high - low) / wanted
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [float(index * step) for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between `low` and `high`, with 2 and 5 between them where there is room."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) <= 3 else (1,)
    values = [factor * 10.0**power for power in powers for factor in factors]
    kept = [value for value in values if low <= value <= high]
    return kept[:: max(1, len(kept) // 5)]


def bounded(value: float | int) -> float:
    """Within what can be drawn: files from outside may hold any number."""
    return float(min(max(value, -HUGE), HUGE))
