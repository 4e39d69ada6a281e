"""Advice: what was found, in words; what to do about it; and the cheapest defense that held."""

from __future__ import annotations

from .evidence import Evidence
from .ranking import cost_words, price, ranked
from .schema import Cell, Estimate, Finding, Recommendation, Row
from .setup import UNDEFENDED

STRONGER = "try a stronger setting of the defenses listed, larger local batches, or several local steps between updates"


def findings(rows: list[Row], cells: list[Cell], threat: str) -> list[Finding]:
    """One finding a row whose examples leak, one whose labels or words leak, one whose cases can be told; the gravest first."""
    found = [_examples(row, threat) for row in rows if row.verdict == "LEAKS"]
    found += [finding for row in rows for of in (_labels, _words, _presence) if (finding := of(row, cells))]
    order = ("critical", "high", "medium", "low", "none")
    return sorted(found, key=lambda finding: order.index(finding.severity))


def recommendations(rows: list[Row], threat: str) -> list[Recommendation]:
    """For each client the cheapest defense that held: the least loss of accuracy, then bytes, then seconds; and their ranking."""
    found = []
    for client in dict.fromkeys(row.client for row in rows):
        mine = [row for row in rows if row.client == client]
        tried = [row for row in mine if row.defense != UNDEFENDED]
        advice = _recommendation(client, mine, threat)
        found.append(advice.model_copy(update={"ranked": ranked(tried) if len(tried) > 1 else []}))
    return found


def headline(rows: list[Row]) -> str:
    """What was found, in one sentence; what to do about it is the recommendations'."""
    leaking = [row for row in rows if row.verdict == "LEAKS"]
    if leaking:
        bare = next((row for row in leaking if row.defense == UNDEFENDED), leaking[0])
        assert bare.rate is not None
        return f"{bare.rate.value:.0%} of the examples of {bare.client} come back from {_through(bare.defense)} ({bare.worst_attack})."
    if rows and all(row.verdict == "HOLDS" for row in rows):
        return f"Against these attacks the leak rate is shown to be below {max(row.tolerance for row in rows):.0%}."
    if all(row.rate is None for row in rows):
        return "Nothing could be judged: what attacks claim, or why they could not run, is told with each defense."
    return "The attacks that ran showed no leak, and that settles nothing yet."


def _through(defense: str) -> str:
    return "undefended updates" if defense == UNDEFENDED else f"updates behind {defense}"


def _examples(row: Row, threat: str) -> Finding:
    assert row.rate is not None
    who = f"{row.worst_attack}{', by an attacker who knows the defense' if row.worst_informed else ''}"
    defended = row.defense != UNDEFENDED
    return Finding(
        id=f"recovered-{row.examples}",
        severity=row.level,
        title=f"Private {row.examples} come back from {_through(row.defense)}",
        detail=f"{row.rate.value:.0%} of {row.rate.n} examples are recovered and identified under the threat {threat}; "
        f"{row.blind_rate or 0:.0%} from pure noise. Strongest attack: {who}.",
        client=row.client,
        defense=row.defense,
        attack=row.worst_attack,
        rate=row.rate,
        fix=f"do not rely on {row.defense} at this setting; {STRONGER}"
        if defended
        else "do not send this update as it is: use a defense that held, or larger batches",
    )


def _labels(row: Row, cells: list[Cell]) -> Finding | None:
    """Labels leak where their overlap is above that of the best blind guess with confidence."""
    found = _told(row, [(c, c.labels, c.blind_labels) for c in cells])
    if found is None:
        return None
    best, labels, blind = found
    return Finding(
        id="recovered-labels",
        severity="medium",
        title=f"Labels are read off {_through(row.defense)}",
        detail=f"{labels.value:.0%} of the labels of a batch are recovered, where the best blind guess gets "
        f"{blind.value:.0%}. Attack: {best.attack}{', informed' if best.informed else ''}.",
        client=row.client,
        defense=row.defense,
        attack=best.attack,
        rate=labels,
        fix="add noise to the last layer's gradient, or aggregate securely over many clients; dropping its bias does not help",
    )


def _words(row: Row, cells: list[Cell]) -> Finding | None:
    """As labels do: by how much of the batch's vocabulary is named, and no other word."""
    found = _told(row, [(c, c.words, c.blind_words) for c in cells])
    if found is None:
        return None
    best, words, blind = found
    return Finding(
        id="recovered-words",
        severity="medium",
        title=f"Which words were said is read off {_through(row.defense)}",
        detail=f"The words that are named agree with those of a batch by {words.value:.0%} (both over either), where the "
        f"best blind guess has {blind.value:.0%}. Attack: {best.attack}{', informed' if best.informed else ''}.",
        client=row.client,
        defense=row.defense,
        attack=best.attack,
        rate=words,
        fix="freeze the token embedding, or aggregate securely over many clients: rows of unused words must not stand out",
    )


def _told(
    row: Row, figures: list[tuple[Cell, Estimate | None, Estimate | None]]
) -> tuple[Cell, Estimate, Estimate] | None:
    """Of a row's cells, their figure and the blind one, the best that is above the blind one with confidence."""
    leaking = [
        (cell, seen, blind)
        for cell, seen, blind in figures
        if seen and blind and (cell.client, cell.defense) == (row.client, row.defense)
        if cell.status == "ok" and seen.lower > blind.value
    ]
    return max(leaking, key=lambda one: one[1].value, default=None)


def _presence(row: Row, cells: list[Cell]) -> Finding | None:
    """Whether a property or a rare class is there can be told where batches are ranked better than by guessing."""
    mine = [c for c in cells if (c.client, c.defense) == (row.client, row.defense) and c.status == "ok"]
    telling = [(c, c.auc) for c in mine if c.auc and c.auc.lower > 0.5]
    if not telling:
        return None
    best, auc = max(telling, key=lambda pair: pair[1].value)
    return Finding(
        id="told-presence",
        severity="medium",
        title=f"Whether a batch has a property is read off {_through(row.defense)}",
        detail=f"{best.attack}{', informed' if best.informed else ''} ranks a batch with the property or class it looks "
        f"for above one without with probability {auc.value:.2f} (AUC), where guessing has 0.5.",
        client=row.client,
        defense=row.defense,
        attack=best.attack,
        rate=auc,
        fix="aggregate over many clients and add client-level noise (ClientDP): one without the other hides little of this",
    )


def _recommendation(client: str, rows: list[Row], threat: str) -> Recommendation:
    bare = [row for row in rows if row.defense == UNDEFENDED]
    held = sorted((row for row in rows if row.verdict == "HOLDS" and row.defense != UNDEFENDED), key=price)
    if bare and bare[0].verdict == "HOLDS":
        text = f"Undefended updates already held against these attacks under {threat}; a defense would guard against others."
        return Recommendation(client=client, defense=UNDEFENDED, text=text)
    if held:
        best = held[0]
        text = f"{best.defense} is the cheapest defense that held (leak rate under {best.tolerance:.0%}) against these attacks under {threat}{cost_words(best)}."
        return Recommendation(client=client, defense=best.defense, text=text)
    quiet = [
        row for row in rows if row.verdict == "INCONCLUSIVE" and row.more_examples and row.rate and not row.rate.value
    ]
    if quiet:
        first = min(quiet, key=price)
        text = f"No defense is shown to hold yet: {first.defense} leaked nothing, and {first.more_examples} more examples without a leak would settle it."
    elif all(row.defense == UNDEFENDED for row in rows):
        text = "No defense was tried: add one with [[defense]] or --defense."
    else:
        text = f"No defense held: {STRONGER}."
    return Recommendation(client=client, defense="", text=text)


def not_tried(evidence: Evidence, skipped: list[str]) -> list[str]:
    """What a reader might take for tried: attacks that could not run here, and why."""
    reasons: dict[str, set[str]] = {}
    for case, batches in evidence.attacks.items():
        for record in batches.values():
            if record["status"] in ("not_applicable", "missing_knowledge"):
                reasons.setdefault(f"{case.attack} on {case.client}: {record['reason']}", set()).add(case.defense)
    return [*reasons, *dict.fromkeys(skipped)]
