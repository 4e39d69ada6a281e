"""The verdict on a row: LEAKS, HOLDS under a stated rate, or INCONCLUSIVE with what would settle it. Never "safe"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradiometer.core import derive
from gradiometer.numerics.intervals import Interval, cluster_bootstrap, clustered_rate, examples_needed, wilson

from .checks import Findings
from .criteria import worst
from .evidence import Case, Evidence
from .modality import judged_as
from .schema import Cost, Estimate, Row, Severity


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Examples of one row over the batches that every sound attack finished: the worst attack of each example.

    Args:
        levels, noise: severity of every example, and of the same attacks' guesses from pure noise.
        batches: of every example.
    """

    levels: list[Severity]
    noise: list[Severity]
    batches: list[int]

    @property
    def hits(self) -> list[float]:
        return [float(level != "none") for level in self.levels]

    @property
    def blind_rate(self) -> float:
        return sum(level != "none" for level in self.noise) / len(self.noise)


def tally(evidence: Evidence, cases: list[Case]) -> Tally | None:
    """The row's examples; None where no batch is finished, or no attack reconstructs examples.

    Taking the worst of k attacks favors the attacker's luck. The same worst of k is therefore taken over the attacks'
    guesses from pure noise, and a row leaks only where it exceeds that.
    """
    showing = [case for case in cases if any(True for _ in evidence.examples(case))]
    if not showing:
        return None
    complete = set.intersection(*(set(evidence.attacks[case]) for case in cases))
    sizes = {
        batch: max(len(evidence.attacks[case][batch].get("examples", ())) for case in showing)
        for batch in sorted(complete)
    }
    real = {batch: _worst_of(evidence, showing, batch, sizes, "examples") for batch in sizes}
    # A refusal is no proof where nothing leaked. Where something did, it is one more example that did not come back.
    leaking = any(level != "none" for levels in real.values() for level in levels)
    found = Tally(levels=[], noise=[], batches=[])
    for batch in (batch for batch, size in sizes.items() if size or leaking):
        found.levels.extend(real[batch])
        found.noise.extend(_worst_of(evidence, showing, batch, sizes, "noise"))
        found.batches.extend([batch] * len(real[batch]))
    return found if found.levels else None


def _worst_of(evidence: Evidence, cases: list[Case], batch: int, sizes: dict[int, int], part: str) -> list[Severity]:
    """The worst of all attacks for every example of a batch; of one that all refused as many as others have."""
    size = sizes[batch] or max(sizes.values())
    return [worst(levels) for levels in zip(*(evidence.levels(case, batch, size, part) for case in cases))]


def judge(
    evidence: Evidence,
    findings: Findings,
    client: str,
    defense: str,
    tolerance: float,
    settings: dict[str, Any],
    cost: Cost,
) -> Row:
    """The row of one defense of one client."""
    cases = evidence.cases(client, defense)
    ran = [case for case in cases if evidence.ok(case)]
    sound = [case for case in ran if case not in findings.unsound]
    doubts = [*findings.doubts.get((client, defense), ()), *_silent(evidence, findings, cases)]
    found = tally(evidence, sound) if sound else None
    row = Row(
        client=client,
        defense=defense,
        settings=settings,
        verdict="INCONCLUSIVE",
        level="none",
        tolerance=tolerance,
        cost=cost,
    )
    if found is None:
        row.reasons = doubts or _unread(evidence, cases)
        return row
    lower, upper = (clustered_rate(found.hits, found.batches, side) for side in ("lower", "upper"))
    row.rate, row.blind_rate = estimate(rate(found.hits, found.batches)), found.blind_rate
    row.bounds = Estimate(
        value=lower.value,
        lower=lower.lower,
        upper=upper.upper,
        n=lower.n,
        method=upper.method.replace("upper bound", "one-sided bounds"),
    )
    leaked = sum(found.hits)
    if leaked:
        strongest = max(sound, key=lambda case: _strength(evidence, case))
        row.worst_attack, row.worst_informed = strongest.attack, strongest.informed
    if leaked and lower.lower > found.blind_rate:
        row.verdict, row.level, row.reasons = "LEAKS", worst(found.levels), doubts
    elif doubts:
        row.reasons = doubts
    elif upper.upper < tolerance:
        row.verdict = "HOLDS"
    else:
        row.more_examples = more_examples(found, tolerance)
        row.reasons = [_undecided(found, upper, tolerance)]
    return row


def rate(hits: list[float], batches: list[int]) -> Interval:
    """Wilson's interval for batches of one; else a bootstrap of whole batches, whose examples leak together."""
    if len(set(batches)) == len(batches):
        return wilson(int(sum(hits)), len(hits))
    return cluster_bootstrap(hits, batches, derive(0, "rate"))


def estimate(interval: Interval) -> Estimate:
    """An interval as the schema writes it."""
    return Estimate(
        value=interval.value, lower=interval.lower, upper=interval.upper, n=interval.n, method=interval.method
    )


def more_examples(found: Tally, tolerance: float) -> int | None:
    """How many further examples without a leak would make the row hold; None where that cannot be."""
    batches = sorted(set(found.batches))
    leaking = sum(any(hit for hit, b in zip(found.hits, found.batches) if b == batch) for batch in batches)
    size = round(len(found.hits) / len(batches))
    if leaking >= tolerance * len(batches) and leaking:
        return None
    return max(1, examples_needed(tolerance, leaks=leaking) - len(batches)) * size


def _undecided(found: Tally, upper: Interval, tolerance: float) -> str:
    told = (
        f"{sum(found.hits):.0f} of {len(found.hits)} examples leaked, which shows a rate below {upper.upper:.0%} only"
    )
    if sum(found.hits):
        return f"{told}; {found.blind_rate:.0%} do so from pure noise"
    return f"{told}, not below {tolerance:.0%}"


def _silent(evidence: Evidence, findings: Findings, cases: list[Case]) -> list[str]:
    """Why the silence of some attack proves nothing."""
    reasons = []
    for case in cases:
        name = case.attack + (", informed," if case.informed else "")
        batches = evidence.attacks[case].values()
        if case in findings.unsound:
            reasons.append(f"{name}: {findings.unsound[case]}")
        if failed := [record for record in batches if record["status"] == "failed"]:
            reasons.append(f"{name} failed on {len(failed)} batches: {failed[0]['reason']}")
        if case in evidence.lost:
            reasons.append(f"{name} was lost: {evidence.lost[case]}; run again")
        if not batches and case not in evidence.lost:
            reasons.append(f"{name} was not started: the time budget ran out; run again")
    return reasons


def _unread(evidence: Evidence, cases: list[Case]) -> list[str]:
    """Why no attack showed an example: the refusals in their own words, for a refusal is no proof."""
    refused = {case.attack: case for case in cases if not evidence.ok(case)}
    told = [
        f"{name} could not be applied: {next(iter(evidence.attacks[case].values()))['reason']}"
        for name, case in refused.items()
        if evidence.attacks[case]
    ]
    return ["no attack that reconstructs examples could be judged", *told]


def _strength(evidence: Evidence, case: Case) -> tuple[int, float]:
    scores = [score for _, score in evidence.examples(case)]
    levels = [level for batch in evidence.attacks[case] for level in evidence.levels(case, batch, 0)]
    return sum(level != "none" for level in levels), sum(score[judged_as(score).quality] for score in scores) / max(
        1, len(scores)
    )
