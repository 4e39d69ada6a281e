"""Ranking: what to deploy first, by what was shown of the leak, of the accuracy and of the bytes, in this order."""

from __future__ import annotations

from .schema import Row

KEEPS = 0.95
"""A defense pays if it may keep this share of the accuracy without it; else learning is what it defends against."""
STEP = 0.05
"""Upper bounds of leak rates that are this near are alike: the cheaper defense comes first."""


def ranked(rows: list[Row]) -> list[str]:
    """One client's defenses, the first to deploy first, each with its reasons.

    Defenses that keep the accuracy come before those that do not. Of either, those that were shown to hold come first, by
    price; then what is not settled, and then what leaks, each by the upper bound of the leak rate, behind which no
    defense can hide that was tried on few examples, and by price. What was not judged comes last.
    """
    order = ("HOLDS", "INCONCLUSIVE", "LEAKS")
    told = sorted(rows, key=lambda row: (row.rate is None, not pays(row), order.index(row.verdict), *_rest(row)))
    return [_line(row) for row in told]


def pays(row: Row) -> bool:
    """Whether the accuracy may be 95 % of the undefended one; also where none was measured."""
    before, after = row.cost.accuracy_undefended, row.cost.accuracy
    return before is None or after is None or after.upper >= KEEPS * before.value


def price(row: Row) -> tuple[float, float, float]:
    """Accuracy lost to a point, share of the bytes, seconds."""
    cost, lost = row.cost, drop(row)
    return (1.0 if lost is None else round(max(lost, 0.0), 2), cost.bytes_ratio or 1.0, cost.seconds or 0.0)


def drop(row: Row) -> float | None:
    """Accuracy lost, where it was measured."""
    before, after = row.cost.accuracy_undefended, row.cost.accuracy
    return None if before is None or after is None else before.value - after.value


def cost_words(row: Row) -> str:
    """`: accuracy -0.4 points, 25% of the bytes`."""
    lost, parts = drop(row), []
    if lost is not None:
        parts.append(f"accuracy {-100 * lost + 0.0:+.1f} points")
    if row.cost.bytes_ratio is not None:
        parts.append(f"{row.cost.bytes_ratio:.0%} of the bytes")
    if row.cost.epsilon is not None:
        parts.append(f"epsilon {row.cost.epsilon:.3g} a round")
    return f": {', '.join(parts)}" if parts else ""


def _rest(row: Row) -> tuple[float, ...]:
    upper = 1.0 if row.bounds is None else row.bounds.upper
    return (0.0 if row.verdict == "HOLDS" else float(round(upper / STEP)), *price(row))


def _line(row: Row) -> str:
    if row.rate is None or row.bounds is None:
        return f"{row.defense}: not judged{cost_words(row)}"
    leak = f"leak rate {row.rate.value:.0%}, at most {row.bounds.upper:.0%}"
    held = {"HOLDS": "held", "LEAKS": "leaks", "INCONCLUSIVE": "not settled"}[row.verdict]
    dear = "" if pays(row) else "; costs too much accuracy"
    return f"{row.defense}: {held}, {leak}{cost_words(row)}{dear}"
