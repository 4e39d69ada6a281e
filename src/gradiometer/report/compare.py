"""Two runs side by side, paired by cell: what got worse, what got better, and what cannot be told."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Literal, TypeVar

from gradiometer.audit.schema import Cell, Estimate, Result, Row, Severity

from . import figures, words

Outcome = Literal["regression", "improvement", "same", "lost", "new"]
Key = TypeVar("Key")
Value = TypeVar("Value")
ORDER: tuple[Outcome, ...] = ("regression", "lost", "improvement", "new", "same")
RANK = {"HOLDS": 0, "INCONCLUSIVE": 1, "LEAKS": 2}


@dataclass(frozen=True, kw_only=True)
class Change:
    """One pair.

    Args:
        attack: empty for the verdict on the defense as a whole.
        figure: what was compared: `verdict`, `leak rate`, `AUC`, `labels` or `identification`.
        before, after: in words.
        difference: after minus before, with its 95 % interval.
        outcome: `lost`: measured before and not any more; `same`: no difference is shown.
    """

    outcome: Outcome
    severity: Severity
    client: str
    defense: str
    attack: str
    informed: bool
    figure: str
    before: str
    after: str
    difference: tuple[float, float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All pairs, the worst first, and what makes the two runs unlike each other."""

    before: str
    after: str
    changes: tuple[Change, ...]
    caveats: tuple[str, ...]

    @property
    def unlike(self) -> bool:
        """Nothing was measured in both runs."""
        return all(change.outcome in {"new", "lost"} for change in self.changes)

    def of(self, outcome: Outcome) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.outcome == outcome)


def compare(before: Result, after: Result) -> Comparison:
    """Pairs verdicts by client and defense, and figures by client, defense, attack and attacker."""
    rows = [
        _verdict(old, new)
        for old, new in _paired(
            {(r.client, r.defense): r for r in before.rows}, {(r.client, r.defense): r for r in after.rows}
        )
    ]
    levels = {(row.client, row.defense): row.level for row in after.rows}
    cells = [_figure(old, new, levels) for old, new in _paired(_by_place(before), _by_place(after))]
    changes = sorted([*rows, *cells], key=lambda c: (ORDER.index(c.outcome), words.SEVERITIES.index(c.severity)))
    names = (f"{run.title} ({run.created})" for run in (before, after))
    return Comparison(before=next(names), after=next(names), changes=tuple(changes), caveats=_caveats(before, after))


def difference(before: Estimate, after: Estimate) -> tuple[float, float, float]:
    """After minus before with its interval, from the two intervals alone.

    MOVER: d - sqrt((a - a_low)² + (b_up - b)²) and d + sqrt((a_up - a)² + (b - b_low)²). It takes the two for
    independent; runs on the same examples agree more than that, so it errs on the side of showing no difference.

    References:
        Zou, Donner: Construction of confidence limits about effect measures: a general approach, 2008.
        Newcombe: Interval estimation for the difference between independent proportions, 1998 (method 10).
    """
    d = after.value - before.value
    lower = d - math.hypot(after.value - after.lower, before.upper - before.value)
    upper = d + math.hypot(after.upper - after.value, before.value - before.lower)
    return d, lower, upper


def _by_place(result: Result) -> dict[tuple[str, str, str, bool], Cell]:
    return {(cell.client, cell.defense, cell.attack, cell.informed): cell for cell in result.cells}


def _paired(before: dict[Key, Value], after: dict[Key, Value]) -> list[tuple[Value | None, Value | None]]:
    return [(before.get(key), after.get(key)) for key in dict.fromkeys([*before, *after])]


def _verdict(old: Row | None, new: Row | None) -> Change:
    row = new or old
    assert row is not None
    outcome: Outcome = "same"
    if old is None or new is None:
        outcome = "new" if old is None else "lost"
    elif new.verdict == "LEAKS" and (old.verdict != "LEAKS" or _worse(new.level, old.level)):
        outcome = "regression"
    elif RANK[new.verdict] > RANK[old.verdict]:
        outcome = "lost"
    elif RANK[new.verdict] < RANK[old.verdict] or _worse(old.level, new.level):
        outcome = "improvement"
    return Change(
        outcome=outcome,
        severity=_severity(outcome, row.level),
        client=row.client,
        defense=row.defense,
        attack="",
        informed=False,
        figure="verdict",
        before=words.verdict_words(old) if old else figures.MISSING,
        after=words.verdict_words(new) if new else figures.MISSING,
    )


def _figure(old: Cell | None, new: Cell | None, levels: dict[tuple[str, str], Severity]) -> Change:
    cell = new or old
    assert cell is not None
    (name, was), (new_name, now) = _measured(old), _measured(new)
    delta: tuple[float, float, float] | None = None
    outcome: Outcome = "same"
    if was is not None and now is not None and name == new_name:
        delta = difference(was, now)
        outcome = "regression" if delta[1] > 0 else "improvement" if delta[2] < 0 else "same"
    elif was is not None or (old is not None and new is None):
        outcome = "lost"
    elif now is not None or old is None:
        outcome = "new"
    level = levels.get((cell.client, cell.defense), "none")
    return Change(
        outcome=outcome,
        severity=_severity(outcome, level),
        client=cell.client,
        defense=cell.defense,
        attack=cell.attack,
        informed=cell.informed,
        figure=new_name or name or "leak rate",
        before=_told(old, was),
        after=_told(new, now),
        difference=delta,
    )


def _measured(cell: Cell | None) -> tuple[str, Estimate | None]:
    return words.headline_figure(cell) if cell is not None and cell.status == "ok" else ("", None)


def _told(cell: Cell | None, estimate: Estimate | None) -> str:
    if estimate is not None:
        return figures.share_interval(estimate)
    return figures.MISSING if cell is None else words.STATUS_WORDS[cell.status]


def _worse(level: Severity, than: Severity) -> bool:
    return words.SEVERITIES.index(level) < words.SEVERITIES.index(than)


def _severity(outcome: Outcome, level: Severity) -> Severity:
    """A regression is as severe as the verdict on its defense is now, and never nothing."""
    return "none" if outcome != "regression" else "low" if level == "none" else level


def _caveats(before: Result, after: Result) -> tuple[str, ...]:
    """What makes the two runs unlike each other."""
    told = []
    if before.threat != after.threat:
        told.append(f"the threats differ: {before.threat.name}, then {after.threat.name}; leaks are not comparable")
    for name, old, new in (("seed", before.seed, after.seed), ("version", before.version, after.version)):
        if old != new:
            told.append(f"the {name} differs: {old}, then {new}")
    for word, run in (("first", before), ("second", after)):
        if not run.complete:
            told.append(f"the {word} run was stopped before it was complete")
    return tuple(told)


def render_comparison(comparison: Comparison, format: str = "terminal") -> str:
    """As `terminal` text, `md`, or `json`."""
    if format == "json":
        return json.dumps({"schema_version": 1, **asdict(comparison)}, indent=2, ensure_ascii=False) + "\n"
    from .markdown import table, text

    told = [change for change in comparison.changes if change.outcome != "same"]
    counts = ", ".join(f"{len(comparison.of(o))} {word}" for o, word in COUNTED.items())
    heads = ("Outcome", "Client", "Defense", "Attack", "Before", "After", "Difference")
    body = [_line(change) for change in told]
    if format == "md":
        lines = [f"# {text(comparison.before)} → {text(comparison.after)}", "", counts, ""]
        lines += [*(table(heads, body) if body else []), "", *(f"- {text(caveat)}" for caveat in comparison.caveats)]
        return "\n".join(lines).rstrip() + "\n"
    lines = [words.one_line(f"{comparison.before} → {comparison.after}"), counts, ""]
    for outcome, client, defense, attack, was, now, delta in body:
        lines += [
            words.one_line(f"{outcome}: {client}, {defense}, {attack}"),
            f"    {was} → {now}{'  ' + delta if delta else ''}",
        ]
    lines += ["note: the runs have nothing in common"] if comparison.unlike else []
    lines += [f"note: {words.one_line(caveat)}" for caveat in comparison.caveats]
    return "\n".join(lines).rstrip() + "\n"


COUNTED: dict[Outcome, str] = {
    "regression": "worse",
    "lost": "no longer measured or decided",
    "improvement": "better",
    "new": "new",
    "same": "without a shown difference",
}


def _line(change: Change) -> list[str]:
    attack = f"{change.attack}{', informed' if change.informed else ''}" if change.attack else "verdict"
    delta = ""
    if change.difference is not None:
        d, lower, upper = (f"{100 * value:+.0f}" for value in change.difference)
        delta = f"{d} points [{lower}, {upper}]"
    outcome = {"regression": f"worse ({change.severity})", "improvement": "better"}.get(change.outcome, change.outcome)
    return [outcome, change.client, words.defense_name(change.defense), attack, change.before, change.after, delta]
