"""How reports write figures: one spelling for every format, and a visible mark wherever nothing was measured."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from typing import Any

from gradiometer.audit import toml
from gradiometer.audit.schema import Cell, ClientInfo, Estimate, Result, Row, Severity, Status, Verdict

MISSING = "–"
SYMBOLS: dict[Verdict, str] = {"LEAKS": "▲", "HOLDS": "●", "INCONCLUSIVE": "◇"}
SEVERITIES: tuple[Severity, ...] = ("critical", "high", "medium", "low", "none")
STATUS_WORDS: dict[Status, str] = {
    "ok": "measured",
    "not_applicable": "not applicable",
    "missing_knowledge": "not granted",
    "failed": "failed",
    "skipped": "skipped",
    "inconclusive": "inconclusive",
}
CAVEAT = (
    "“Held” means: held against these attacks under this threat. It does not mean safe: "
    "an attack that failed is no proof that another one would."
)


def clean(text: str) -> str:
    """The text without characters that could steer a terminal or reorder a line: they become visible marks."""
    return "".join(
        char if char in "\n\t" or unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn"} else "\ufffd"
        for char in text
    )


def one_line(text: str) -> str:
    """The text on one line, and harmless."""
    return clean(re.sub("[ \t\r\n\f\v]+", " ", text).strip())


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


def share_interval(estimate: Estimate | None) -> str:
    """`100 % [86 %, 100 %], n = 24`."""
    if estimate is None:
        return MISSING
    return (
        f"{percent(estimate.value)} [{percent(estimate.lower)}, {percent(estimate.upper)}], n\u00a0=\u00a0{estimate.n}"
    )


def decibel(value: float | int | None) -> str:
    """31.24 -> 31.2 dB."""
    return MISSING if value is None else f"{_finite(value):.1f}\u00a0dB"


def value_interval(estimate: Estimate | None, unit: str = "") -> str:
    """`31.2 dB [29.8, 33.0], n = 24`."""
    if estimate is None:
        return MISSING
    value = f"{number(estimate.value)}\u00a0{unit}" if unit else number(estimate.value)
    return f"{value} [{number(estimate.lower)}, {number(estimate.upper)}], n\u00a0=\u00a0{estimate.n}"


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


def defense_name(name: str) -> str:
    """The defense as reports write it; the empty chain is called by its name."""
    return name if name not in {"", "none"} else "no defense"


def is_undefended(name: str) -> bool:
    return defense_name(name) == "no defense"


def verdict_words(row: Row) -> str:
    """`LEAKS (critical)`, `HOLDS (under 10 %)` or `INCONCLUSIVE`."""
    if row.verdict == "LEAKS":
        return f"LEAKS ({row.level})"
    if row.verdict == "HOLDS":
        return f"HOLDS (under {percent(row.tolerance)})"
    return "INCONCLUSIVE"


def worst_words(row: Row) -> str:
    """The attack that counted for this row, and whether it knew the defense."""
    if not row.worst_attack:
        return ""
    return f"{row.worst_attack}, informed" if row.worst_informed else row.worst_attack


def headline_figure(cell: Cell) -> tuple[str, Estimate | None]:
    """The share that a cell is judged by, and what it counts; label attacks have no leak rate."""
    for name, estimate in (("leak rate", cell.rate), ("labels", cell.labels), ("identification", cell.identification)):
        if estimate is not None:
            return name, estimate
    return "", None


def client_line(client: ClientInfo) -> str:
    """`resnet20, 272,474 parameters, on medical tiles (private)`."""
    access = "public" if client.data.public else "private"
    return f"{client.model}, {count(client.parameters)} parameters, on {client.data.name} ({access})"


def at_least(level: Severity, threshold: str) -> bool:
    """Whether a severity reaches a threshold; the threshold `never` is reached by none."""
    order = [*reversed(SEVERITIES)]
    return level != "none" and threshold in order and order.index(level) >= order.index(threshold)


def clients_of(result: Result) -> list[str]:
    """Names of all clients, in the plan's order."""
    return list(dict.fromkeys([*(c.name for c in result.clients), *(row.client for row in result.rows)]))


def plan_text(plan: dict[str, Any]) -> str:
    """The plan as it can be saved and run again; JSON where a foreign file holds what TOML cannot say."""
    try:
        return toml.dump(plan)
    except (TypeError, RecursionError):
        return json.dumps(plan, indent=2, ensure_ascii=False)


def _finite(value: float | int) -> float:
    """As a float that prints: a damaged file may hold integers beyond every float."""
    try:
        return float(value)
    except OverflowError:
        return math.copysign(1e308, value)
