"""assemble: finished trials become the one result that every report is a rendering of."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any

from gradiometer.core import Threat, trainable

from . import advice, drawing, quoting, showing, summaries
from .checks import examine
from .criteria import worst
from .evidence import Evidence, Record
from .generators import GENERATIVE
from .metering import metered
from .modality import modality
from .schema import Check, ClientInfo, DataInfo, Result, Row, ThreatInfo, Verdict
from .setup import Setup
from .spelling import spell
from .targets import Victim
from .trials import Trial, informs
from .verdict import judge


def assemble(
    setup: Setup,
    trials: list[Trial],
    records: dict[str, Record],
    lost: dict[str, str],
    folder: Path,
    seconds: float,
    environment: dict[str, str],
    command: str,
) -> Result:
    """Judges what was measured so far; trials that are missing are told as skipped."""
    from gradiometer import __version__

    plan, evidence = setup.plan, Evidence.of(trials, records, lost)
    found = examine(evidence, setup.threat, controls=plan.audit.controls)
    rows = [
        _row(setup, evidence, found, client, defense)
        for client in setup.victims
        for defense in setup.defenses_on(client)
    ]
    cells = [
        summaries.cell(evidence, found, case, generative=setup.attacks[case.attack].card.family == GENERATIVE)
        for case in evidence.attacks
    ]
    pictures, hashes = showing.gallery(setup, evidence, rows, folder)
    for name, victim in setup.victims.items():
        if victim.data is None:
            pictures += showing.claimed(evidence, name, folder)
    name = plan.threat["name"]
    problems = advice.findings(rows, cells, name)
    recommended = advice.recommendations(rows, name)
    return Result(
        version=__version__,
        title=plan.title,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 2),
        command=command,
        seed=plan.seed,
        plan=plan.model_dump(mode="json"),
        plan_hash=plan.hash,
        environment=environment,
        complete=all(trial.id in records for trial in trials),
        verdict=_overall(rows),
        level=worst(finding.severity for finding in problems),
        headline=advice.headline(rows),
        threat=_threat(setup),
        clients=[_client(victim, setup.threat) for victim in setup.victims.values()],
        rows=rows,
        cells=cells,
        findings=problems,
        recommendations=recommended,
        gallery=pictures,
        quotes=quoting.quoted(setup, evidence, rows),
        drawings=drawing.drawn(setup, evidence, rows),
        controls=[summaries.control(key, record) for key, record in evidence.controls.items()],
        checks=[*found.checks, *hashes, *_criteria(setup)],
        not_tried=advice.not_tried(evidence, [*found.not_tried, *_uninformed(setup)]),
    )


def _row(setup: Setup, evidence: Evidence, found: Any, client: str, defense: str) -> Row:
    guard, victim = setup.defenses[defense], setup.victims[client]
    settings = {} if guard is None else spell(guard)
    price = summaries.cost(evidence, client, defense)
    row = judge(evidence, found, client, defense, setup.plan.audit.tolerance, settings, price)
    row.examples = modality(victim.client.layout).many
    if victim.data is None:
        row.reasons = [
            "a captured update comes without the truth to compare with: attacks' claims are listed, not judged",
            *_claims(evidence, client),
        ]
    return row


def _claims(evidence: Evidence, client: str) -> list[str]:
    """What each attack claims of a captured update, and how much of the update that explains."""
    told = []
    for case in evidence.attacks:
        for record in evidence.ok(case) if case.client == client else ():
            claim, parts = record["claims"], []
            if "labels" in claim:
                parts.append(f"labels {claim['labels']}")
            parts += [
                f"{claim[what]} {what}" for what in ("pictures", "sentences", "graphs", "words") if claim.get(what)
            ]
            if claim["mismatch"] is not None:
                blind = "" if claim["noise_mismatch"] is None else f" (from pure noise: {claim['noise_mismatch']:.3g})"
                parts.append(f"they leave {claim['mismatch']:.3g} of the update unexplained{blind}")
            told.append(f"{case.attack} claims {', '.join(parts) or 'nothing'}")
    return told


def _overall(rows: list[Row]) -> Verdict:
    found = {row.verdict for row in rows}
    return "LEAKS" if "LEAKS" in found else "INCONCLUSIVE" if "INCONCLUSIVE" in found or not found else "HOLDS"


def _threat(setup: Setup) -> ThreatInfo:
    threat = setup.threat
    switches = ("model", "recipe", "batch_size", "labels", "buffers", "public", "tamper")
    return ThreatInfo(
        name=setup.plan.threat["name"],
        letter=threat.letter,
        granted=list(threat.granted),
        withheld=[name for name in switches if name not in threat.granted],
        clients=threat.clients,
        rounds=threat.rounds,
    )


def _client(victim: Victim, threat: Threat) -> ClientInfo:
    client, data = victim.client, victim.data
    card = DataInfo(name="not given") if data is None else DataInfo(**asdict(data.card))
    return ClientInfo(
        name=victim.name,
        model=type(client.model).__name__,
        parameters=sum(value.numel() for value in trainable(client.model).values()),
        recipe=asdict(client.recipe),
        layout={name: _finite(asdict(field)) for name, field in client.layout.items()},
        data=card,
        classes=list(data.names) if data is not None else [],
        meter=metered(victim, threat),
    )


def _finite(field: dict[str, Any]) -> dict[str, Any]:
    return {
        k: None if isinstance(v, float) and not isfinite(v) else list(v) if isinstance(v, tuple) else v
        for k, v in field.items()
    }


def _uninformed(setup: Setup) -> list[str]:
    """Defenses whose knowledge changes no attack: the naive attacker is then the informed one."""
    if not setup.plan.audit.informed:
        return ["attackers who know the defense (the plan leaves them out)"]
    return [
        f"{attack} informed of {name}: knowing this defense does not change it"
        for name, defense in setup.defenses.items()
        if defense is not None
        for attack in setup.attacks
        if not informs(defense, setup, attack)
    ]


def _criteria(setup: Setup) -> list[Check]:
    kinds = {kind.many: kind for victim in setup.victims.values() for kind in (modality(victim.client.layout),)}
    return [Check(name="leak criterion", ok=True, detail=kind.criterion) for kind in kinds.values()]
