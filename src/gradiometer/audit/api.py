"""The two verbs of a user: `audit` what a plan or live objects spell, and `scan` a client quickly."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any

from gradiometer.core import Attack, BadConfig, Batch, Client, Data, Defense, Threat

from .plan import Plan, load_plan, make_plan
from .quick import LIVE, scan_plan
from .run import run_audit
from .schema import Result
from .setup import Setup, set_up
from .spelling import build, spell
from .targets import make_victim

Spec = str | Mapping[str, Any]


def audit(
    plan: Plan | str | Path | None = None,
    *,
    client: Client | None = None,
    data: Data | Batch | None = None,
    attacks: Iterable[Attack | Spec] = (),
    defenses: Iterable[Defense | Spec] = (),
    threat: str | Threat = "honest_but_curious",
    seed: int = 0,
    folder: str | Path | None = None,
    jobs: int = 1,
    settings: Mapping[str, Any] | None = None,
    utility: Mapping[str, Any] | None = None,
) -> Result:
    """Audits, and returns the result.

    Either of a plan (an object, or the path of its TOML file), or of a live client with its data.

    Args:
        attacks, defenses: objects, or their spelling: `"Prune:keep=0.1"`.
        threat: a name, or the switches themselves.
        folder: keeps the run and resumes it. Without one, everything is computed anew and nothing is kept.
        jobs: processes; a live client is always computed in this one.
        settings, utility: entries of the plan's `[audit]` and `[utility]` tables.

    Raises:
        BadConfig, BadInput: before any computation.

    >>> audit(client=client, data=data, attacks=["LinearBias"]).worst.upper < 0.05  # doctest: +SKIP
    """
    if plan is not None:
        if client is not None or data is not None or attacks or defenses:
            raise BadConfig("a plan already says what is audited", fix="pass a plan, or a client with attacks")
        made: Plan | Setup = plan if isinstance(plan, Plan) else load_plan(plan)
    else:
        if client is None or data is None:
            raise BadConfig("there is nothing to audit", fix="pass a plan, or client=... and data=...")
        made = _live(client, data, attacks, defenses, threat, seed, settings or {}, utility or {})
    with tempfile.TemporaryDirectory() if folder is None else nullcontext(folder) as place:
        return run_audit(made, place, jobs=jobs, command="gradiometer.audit(...)")


def scan(
    target: str | Path | None = None,
    *,
    client: Client | None = None,
    data: Data | Batch | None = None,
    model: str | None = None,
    attacks: Iterable[Spec] = (),
    defenses: Iterable[Spec] = (),
    threat: str = "honest_but_curious",
    seed: int = 0,
    budget: float = 120.0,
    folder: str | Path | None = None,
    jobs: int = 1,
) -> Result:
    """A quick look at one client; without any, at the built-in hospital. Arguments as for `scan_plan` and `audit`."""
    live = None
    if client is not None:
        if data is None or target is not None:
            raise BadConfig(
                "a live client is scanned with its data, and without a target", fix="pass client=... and data=..."
            )
        live = (client, data if isinstance(data, Data) else Data(private=data, layout=client.layout))
    plan = scan_plan(
        target, live=live, model=model, attacks=attacks, defenses=defenses, threat=threat, seed=seed, budget=budget
    )
    made: Plan | Setup = plan
    if live is not None:
        made = set_up(plan, victims=[make_victim(plan.client[0].name, *live, plan)])
    with tempfile.TemporaryDirectory() if folder is None else nullcontext(folder) as place:
        return run_audit(made, place, jobs=jobs, command="gradiometer.scan(...)")


def run_folder(plan: Plan) -> Path:
    """Where the command line keeps a plan's run: the same plan finds it again, another one does not."""
    slug = re.sub(r"[^a-z0-9]+", "-", plan.title.lower()).strip("-")[:40]
    return Path("runs") / f"{slug or 'audit'}-{plan.hash[:8]}"


def _live(
    client: Client,
    data: Data | Batch,
    attacks: Iterable[Attack | Spec],
    defenses: Iterable[Defense | Spec],
    threat: str | Threat,
    seed: int,
    settings: Mapping[str, Any],
    utility: Mapping[str, Any],
) -> Setup:
    readers = [attack if isinstance(attack, Attack) else build(attack, "attack") for attack in attacks]
    guards = [defense if isinstance(defense, Defense) else build(defense, "defense") for defense in defenses]
    switches = threat if isinstance(threat, str) else {f.name: getattr(threat, f.name) for f in fields(threat)}
    plan = make_plan(
        {
            "title": "Audit of a live client",
            "seed": seed,
            "threat": switches,
            "client": [{"name": type(client.model).__name__, "target": LIVE}],
            "attack": [spell(attack) for attack in readers],
            "defense": [spell(guard) for guard in guards],
            "audit": dict(settings),
            "utility": dict(utility),
        },
        live=True,
    )
    victim = make_victim(plan.client[0].name, client, data, plan)
    return set_up(plan, victims=[victim], attacks=readers, defenses=guards)
