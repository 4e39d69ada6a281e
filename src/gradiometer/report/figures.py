"""How reports write figures: one spelling for every format, and a visible mark wherever nothing was measured."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from gradiometer.audit.schema import Estimate

MISSING = "–"


def number(value: float | int | None, digits: int = 3) -> str:
    """A figure with so many significant digits: 1234 -> 1,234; 0.01234 -> 0.0123; 0.250 -> 0.25; 12345678 -> 1.23e+07."""
    if value is None:
        return MISSING
    value = _finite(value)
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size > 6 or size < -4:
        return f"{value:.{digits - 1}e}"
    text = f"{value:,.{max(0, digits - 1 - size)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def count(value: int | None) -> str:
    """1234567 -> 1,234,567."""
    return MISSING if value is None else f"{value:,}"


def percent(share: float | int | None) -> str:
    """0.123 -> 12 %; below a tenth one decimal is kept, and nothing is rounded to 0 or 100 that is neither."""
    if share is None:
        return MISSING
    value = round(100 * _finite(share), 9)  # the rounding of floats is not news
    text = f"{value:.1f}" if abs(value) < 10 and value != round(value) else f"{value:.0f}"
    if text in {"0.0", "-0.0"} and value:
        text = "<0.1" if value > 0 else ">-0.1"
    if text == "100" and value < 100:
        text = f"{value:.1f}" if value < 99.95 else ">99.9"
    return f"{text}\u00a0%"


def decibel(value: float | int | None) -> str:
    """31.24 -> 31.2 dB."""
    return MISSING if value is None else f"{_finite(value):.1f}\u00a0dB"


def decibel_interval(estimate: Estimate) -> str:
    """`31.2 dB [29.0 dB, 33.1 dB]`."""
    return f"{decibel(estimate.value)} [{decibel(estimate.lower)}, {decibel(estimate.upper)}]"


def share_interval(estimate: Estimate | None) -> str:
    """`100 % [86 %, 100 %], n = 24`."""
    if estimate is None:
        return MISSING
    return (
        f"{percent(estimate.value)} [{percent(estimate.lower)}, {percent(estimate.upper)}], n\u00a0=\u00a0{estimate.n}"
    )


def size(count: int | float | None) -> str:
    """Bytes in decimal units: 1234567 -> 1.23 MB."""
    if count is None:
        return MISSING
    value = _finite(count)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{number(value)}\u00a0{unit}"
        value /= 1000
    return f"{number(value)}\u00a0TB"


def duration(seconds: float | int | None) -> str:
    """0.0123 -> 12 ms; 75 -> 1 min 15 s."""
    if seconds is None:
        return MISSING
    value = _finite(seconds)
    if 0 < abs(value) < 1:
        return f"{number(1000 * value, 2)}\u00a0ms"
    if abs(value) < 60:
        return f"{number(value, 2 if value < 10 else 3)}\u00a0s"
    minutes, rest = divmod(round(value), 60)
    if abs(minutes) < 60:
        return f"{minutes}\u00a0min {rest}\u00a0s" if rest else f"{minutes}\u00a0min"
    return f"{minutes // 60:,}\u00a0h {minutes % 60}\u00a0min"


def moment(text: str) -> str:
    """`2025-11-21T00:56:34+00:00` -> `2025-11-21 00:56 UTC`; anything else stays."""
    try:
        return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError):
        return text


def _finite(value: float | int) -> float:
    """As a float that prints: a damaged file may hold integers beyond every float."""
    try:
        return float(value)
    except OverflowError:
        return math.copysign(1e308, value)
