"""Is the evaluation itself sound? Every check is one that public code failed (see docs: sharp edges).

A failed check never changes a figure: it takes an attack's word away, or it keeps a row from holding.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from gradiometer.core import Threat
from gradiometer.numerics.intervals import clopper_pearson, clustered_rate

from .criteria import learns
from .evidence import Case, Evidence, Record
from .generators import generator_problems
from .modality import level_of
from .schema import Check
from .setup import UNDEFENDED

SPREAD = 1e-9
"""Objectives at random unknowns differ by at least this share of their size, or the attack cannot see its unknown."""
FALL = 1e-3
"""The objective falls by at least this share of its start."""
BLIND_LEAKS = 0.05
"""Pure noise may meet the leak criterion this often by chance, no more."""
LUCK = 1e-3
"""Labels from pure noise are right more often than the blind ones with at least this probability, by chance."""


@dataclass
class Findings:
    """What the checks found.

    Args:
        unsound: cases whose leaks do not count and whose silence proves nothing, with the reason.
        doubts: rows, by client and defense, that cannot hold, with the reasons.
        not_tried: what a reader might think was tried, and was not.
    """

    checks: list[Check] = field(default_factory=list)
    unsound: dict[Case, str] = field(default_factory=dict)
    doubts: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    not_tried: list[str] = field(default_factory=list)


def examine(evidence: Evidence, threat: Threat, *, controls: bool) -> Findings:
    """Runs every check on what was measured."""
    found = Findings()
    for case in evidence.attacks:
        if not evidence.ok(case):
            continue
        problems = [*_case_problems(evidence, case, controls=controls)]
        if problems:
            found.unsound[case] = "; ".join(problems)
        where = f"{case.client}, {case.defense}, {case.attack}{', informed' if case.informed else ''}"
        text = "; ".join(problems) or "objective, noise, decoy, control and the guess's hash are in order"
        found.checks.append(Check(name="attack is sound", ok=not problems, where=where, detail=text))
    for (client, defense), record in evidence.prices.items():
        if record["status"] != "ok":
            found.doubts[client, defense].append(f"the defense could not be looked at: {record['reason']}")
            continue
        _defense(found, client, defense, record, threat)
    return found


def _case_problems(evidence: Evidence, case: Case, *, controls: bool) -> Iterator[str]:
    records = evidence.ok(case)
    yield from _objective(records)
    # One label may agree by chance; whole examples cannot, and neither can several batches of labels.
    if all(record["ignores"] for record in records) and ("examples" in records[0] or len(records) >= 5):
        yield "its guess does not depend on the update"
    yield from _blind(evidence, case, records)
    decoy = evidence.decoys.get((case.client, case.attack))
    if decoy is not None and any(level_of(score) == "critical" for score in decoy.get("examples", ())):
        yield "it shows a batch whose update it was not given: it knows the truth from elsewhere"
    if not all(record["unaltered"] for record in records):
        yield "its guess was altered after it was returned"
    if controls:
        yield from _control(evidence.controls.get((case.client, case.attack)))


def _objective(records: list[Record]) -> Iterator[str]:
    probes = [[v for v in record["probe"] if v is not None] for record in records if record["probe"]]
    constant = sum(len(p) < 2 or max(p) - min(p) <= SPREAD * max(map(abs, p)) for p in probes)
    if probes and 2 * constant > len(probes):
        yield "its objective does not depend on what it searches for"
        return
    curves = [curve for record in records if len(curve := [v for v in record["curve"] if v is not None]) > 1]
    flat = sum(curve[0] - min(curve) <= FALL * abs(curve[0]) for curve in curves)
    if curves and 2 * flat > len(curves):
        yield f"its objective did not fall in {flat} of {len(curves)} runs"


def _blind(evidence: Evidence, case: Case, records: list[Record]) -> Iterator[str]:
    """A guess from pure noise must not be a leak; if it is, the attack has the truth from elsewhere."""
    levels = [(batch, level_of(score)) for batch, score in evidence.examples(case, "noise")]
    if levels:
        hits = [float(level != "none") for _, level in levels]
        often = clustered_rate(hits, [batch for batch, _ in levels], "lower").lower > BLIND_LEAKS
        if often or any(level == "critical" for _, level in levels):
            yield f"it leaks {sum(hits):.0f} of {len(hits)} examples from pure noise: it knows the truth from elsewhere"
    labels = [record for record in records if "noise_labels" in record]
    if labels:
        right = sum(record["noise_labels"]["exact"] for record in labels)
        blind = round(sum(record["noise_labels"]["blind"] for record in labels))
        # Of yes and no a coin gets half right, also where the blind answer never is.
        coin = any("presence" in record for record in labels)
        beats_coin = not coin or clopper_pearson(right, len(labels), "lower", confidence=0.999).lower > 0.5
        if beats_coin and _by_chance(right, blind, len(labels)) < LUCK:
            yield "it reads the labels off pure noise: it knows them from elsewhere"


def _by_chance(right: int, blind: int, n: int) -> float:
    """Fisher's exact test: how probable `right` of n or more are, were `blind` of n as good."""
    from scipy.stats import fisher_exact

    return float(fisher_exact([[right, n - right], [blind, n - blind]], alternative="greater").pvalue)


def _control(control: Record | None) -> Iterator[str]:
    if control is None:
        yield "its positive control was not run"
    elif control["status"] != "ok":
        yield f"its positive control could not be run: {control['reason']}"
    elif not control["passed"]:
        yield f"its positive control failed: {control['why']}"
    elif "generator" in control:
        yield from generator_problems(control["generator"])


def _defense(found: Findings, client: str, defense: str, record: Record, threat: Threat) -> None:
    row = (client, defense)
    if record["copies"]:
        text = f"{record['copies']} attacked examples are also among the public ones, so that blind guessing shows them"
        found.doubts[row].append(text)
        found.checks.append(Check(name="truths are not public", ok=False, where=client, detail=text))
    training = record["training"]
    if training is not None and defense == UNDEFENDED:
        learned = learns(training)
        text = "" if learned else "the short federated training learned nothing: its accuracies compare nothing"
        found.checks.append(Check(name="federated training learns", ok=learned, where=client, detail=text))
    if defense == UNDEFENDED:
        return
    where, ok = f"{client}, {defense}", record["changed"] > 0
    text = f"it changed the update in {record['changed']} of {record['looked']} rounds"
    found.checks.append(Check(name="defense changes the update", ok=ok, where=where, detail=text))
    if not ok:
        found.doubts[row].append(
            f"the defense does nothing: the update left the client as it was in all {record['looked']} rounds"
        )
    if record["random"]:
        seen = f"the observer averaged {threat.rounds} rounds" if threat.rounds > 1 else "one round was observed"
        text = f"the defense is random and {seen}"
        found.checks.append(Check(name="random defense is averaged", ok=True, where=where, detail=text))
        if threat.rounds == 1:
            found.not_tried.append(f"{defense}: averaging its randomness over rounds (the threat grants one round)")
