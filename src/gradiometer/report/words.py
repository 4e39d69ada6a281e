"""The vocabulary of reports: verdicts, names, reasons; and text that can do no harm."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

from gradiometer.audit import toml
from gradiometer.audit.schema import Cell, Check, ClientInfo, Estimate, Meter, Result, Row, Severity, Status, Verdict

from .figures import count, percent

SYMBOLS: dict[Verdict, str] = {"LEAKS": "▲", "HOLDS": "●", "INCONCLUSIVE": "◇"}
SEVERITIES: tuple[Severity, ...] = ("critical", "high", "medium", "low", "none")
KINDS = {"best": "The attacker’s best", "median": "A median example", "worst": "The attacker’s worst"}
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
    """The share that a cell is judged by, and what it counts; attacks on labels, words and presence have no leak rate."""
    figures = (
        ("leak rate", cell.rate),
        ("AUC", cell.auc),
        ("labels", cell.labels),
        ("words", cell.words),
        ("identification", cell.identification),
    )
    for name, estimate in figures:
        if estimate is not None:
            return name, estimate
    return "", None


def client_line(client: ClientInfo) -> str:
    """`resnet20, 272,474 parameters, on medical tiles (private)`."""
    access = "public" if client.data.public else "private"
    return f"{client.model}, {count(client.parameters)} parameters, on {client.data.name} ({access})"


def meter_line(meter: Meter) -> str:
    """`exact reconstruction is predicted; a batch of 4, read off rank 64 of layer4.1.conv2 (gap 30,000)`."""
    told = {
        "exact": "exact reconstruction is predicted",
        "partial": "upper layers only are determined",
        "not": "nothing is determined",
    }[meter.verdict]
    seen = next((layer for layer in meter.layers if layer.rank), None)
    if meter.examples and seen is not None:
        told += (
            f"; a batch of {meter.examples}, read off rank {seen.rank} of {seen.where} (gap {count(round(seen.gap))})"
        )
    if meter.noise is not None:
        survives, ends = (f"{level:.1g}" for level in meter.noise)
        told += f"; it should survive noise of {survives} of the gradient’s root mean square"
        told += f" and end by {ends}" if ends != survives else " and no more"
    if not meter.reason:
        return told
    return f"{told}; {meter.reason}: from there by descent" if meter.verdict == "exact" else f"{told}: {meter.reason}"


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


def doubts(row: Row, most: int = 6) -> list[str]:
    """Why a row is not decided: the first reasons, and how many more there are."""
    if row.verdict == "LEAKS":
        return []
    more = len(row.reasons) - most
    told = row.reasons[:most] + ([f"and {more} more reasons"] if more > 0 else [])
    return told + ([f"{count(row.more_examples)} more examples would settle it"] if row.more_examples else [])


def grouped(checks: list[Check]) -> list[tuple[Check, list[str]]]:
    """Checks of the same name, outcome and detail once, with all their places; those that fired come first."""
    groups: dict[tuple[str, bool, str], list[Check]] = {}
    for check in sorted(checks, key=lambda check: check.ok):
        groups.setdefault((check.name, check.ok, check.detail), []).append(check)
    return [(same[0], [check.where for check in same if check.where]) for same in groups.values()]


def some(items: list[str], most: int = 4) -> str:
    """`a; b; c and 5 more`."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return "; ".join(items[:most]) + more
