"""Aggregated cells, controls and costs: the figures of a result, with intervals."""

from __future__ import annotations

from collections import Counter
from typing import Any

from gradiometer.core import derive
from gradiometer.numerics.intervals import cluster_bootstrap, median_interval, wilson
from gradiometer.numerics.ranking import auc_interval

from .checks import Findings
from .criteria import learns
from .evidence import Case, Evidence, Record
from .modality import judged_as, level_of
from .schema import Cell, Control, Cost, Estimate, Status
from .setup import UNDEFENDED
from .verdict import estimate, rate


def cell(evidence: Evidence, findings: Findings, case: Case, *, generative: bool = False) -> Cell:
    """One attack against one defense over all its examples.

    Args:
        generative: whether the attack draws on what it knows of pictures beside the update.
    """
    told: dict[str, Any] = {
        "client": case.client,
        "defense": case.defense,
        "attack": case.attack,
        "informed": case.informed,
        "generative": generative,
        "causes": Counter(cause for record in evidence.attacks[case].values() if (cause := _cause(record))),
    }
    status, reason = _status(evidence, findings, case)
    records = evidence.ok(case)
    if not records:
        return Cell(**told, status=status, reason=reason)
    figures: dict[str, Any] = {}
    scores = list(evidence.examples(case))
    if scores:
        batches, values = [batch for batch, _ in scores], [score for _, score in scores]
        kind = judged_as(values[0])
        hits = [float(level_of(s) != "none") for s in values]
        refused = [number for number, record in evidence.attacks[case].items() if record["status"] == "not_applicable"]
        missed = [number for number in refused if any(hits) for _ in range(len(hits) // len(records))]  # as for rows
        figures["rate"] = estimate(rate([*hits, *(0.0 for _ in missed)], [*batches, *missed]))
        figures["identification"] = estimate(rate([float(s["identified"]) for s in values], batches))
        for name in kind.figures:
            figures[name] = estimate(median_interval([s[name] for s in values]))
        figures["exact"] = sum(kind.exact(s) for s in values)
        if "equivalent" in values[0]:
            figures["equivalent"] = sum(bool(s["equivalent"]) for s in values)
        if values[0].get("oracle_psnr") is not None:
            figures["oracle_psnr"] = estimate(median_interval([s["oracle_psnr"] for s in values]))
        noise = [score for _, score in evidence.examples(case, "noise")]
        if noise:
            figures[f"noise_{kind.quality}"] = estimate(median_interval([s[kind.quality] for s in noise]))
            figures["blind_rate"] = sum(level_of(s) != "none" for s in noise) / len(noise)
    for what in ("labels", "words"):
        if any(what in record for record in records):
            figures[what] = overlap(records, what, "overlap")
            figures[f"blind_{what}"] = overlap(records, what, "blind")
    told_of = [record["presence"] for record in records if "presence" in record]
    if 0 < sum(one["there"] for one in told_of) < len(told_of):
        figures["auc"] = estimate(auc_interval([one["score"] for one in told_of], [one["there"] for one in told_of]))
    curves = [curve for record in records if len(curve := [v for v in record["curve"] if v is not None]) > 1]
    figures["curve"] = curves[0] if curves else []
    figures["cpu_seconds"] = sum(record["attack_seconds"] for record in records) / len(records)
    return Cell(**told, status=status, reason=reason, **figures)


def _cause(record: Record) -> str:
    """Why nothing was read, or only something that the update does not bear out, in a word of the attack's own; empty otherwise."""
    return str(record.get("cause") or record.get("notes", {}).get("cause", ""))


def overlap(records: list[Record], what: str, part: str) -> Estimate:
    """Mean overlap of `labels` or `words` over batches; `part` is `overlap`, or `blind` for the best blind guess."""
    values = [record[what][part] for record in records if what in record]
    if all(value in (0.0, 1.0) for value in values):
        return estimate(wilson(int(sum(values)), len(values)))
    return estimate(cluster_bootstrap(values, range(len(values)), derive(0, what, part)))


def control(name: tuple[str, str], record: Record) -> Control:
    """The positive control of one attack."""
    if record["status"] != "ok":
        return Control(attack=name[1], passed=False, reason=record["reason"])
    told = {key: record[key] for key in ("passed", "figure", "threshold", "unit")}
    return Control(attack=name[1], reason=record["why"] or f"on {record['victim']}", **told)


def cost(evidence: Evidence, client: str, defense: str) -> Cost:
    """What a defense costs; what was not measured is None."""
    record = evidence.prices.get((client, defense))
    if record is None or record["status"] != "ok":
        return Cost()
    bare = evidence.prices.get((client, UNDEFENDED), {})
    training, before = record["training"], bare.get("training")
    learned = learns(before)
    return Cost(
        bytes=record["bytes"],
        bytes_ratio=record["bytes"] / max(1, record["raw_bytes"]),
        seconds=None if training is None else training["seconds"],
        accuracy=_accuracy(training) if learned else None,
        accuracy_undefended=_accuracy(before) if learned else None,
        epsilon=record["epsilon"],
    )


def _accuracy(training: Record | None) -> Estimate | None:
    return None if training is None else estimate(wilson(training["correct"], training["tested"]))


def _status(evidence: Evidence, findings: Findings, case: Case) -> tuple[Status, str]:
    batches = list(evidence.attacks[case].values())
    planned = evidence.planned[case]
    if case in evidence.lost and not batches:
        return "failed", evidence.lost[case]
    if not batches:
        return "skipped", "not started: the time budget ran out"
    ran = evidence.ok(case)
    causes = Counter(filter(None, map(_cause, batches)))
    told = f" ({', '.join(f'{cause} {count}' for cause, count in causes.most_common())})" if causes else ""
    if not ran:
        return batches[0]["status"], batches[0]["reason"] + told
    if case in findings.unsound:
        return "inconclusive", findings.unsound[case]
    if len(ran) < planned:
        others = sorted({record["reason"] for record in batches if record["status"] != "ok"})
        return "ok", f"{len(ran)} of {planned} batches; {'; '.join(others) or 'the time budget ran out'}{told}"
    return "ok", ""
