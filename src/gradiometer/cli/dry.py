"""`--dry-run`: the resolved plan, its grid, and roughly how long it takes. One round of training is timed, nothing attacked."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradiometer.audit.plan import Plan
    from gradiometer.audit.setup import Setup
    from gradiometer.audit.trials import Trial

PASS = 2.5
"""One evaluation of a matching objective in rounds of training: forward, backward, and backward through that."""
RUNS = 2
"""Every attack also reads noise, to know what it would guess without the update."""
CONTROL = 3
"""Rounds of a positive control."""


def dry_run(plan: Plan) -> str:
    """What `run_audit` would do, as TOML with comments.

    Raises:
        BadConfig, BadInput: as the run itself would.
    """
    import torch

    from gradiometer.audit import preview
    from gradiometer.audit.run import processes
    from gradiometer.audit.setup import set_up
    from gradiometer.report.figures import duration
    from gradiometer.report.words import defense_name, one_line

    setup = set_up(plan)
    trials = preview(setup)
    kinds = Counter(trial.kind for trial in trials)
    attacks = [trial for trial in trials if trial.kind == "attack"]
    jobs = processes(setup, None)
    torch.set_num_threads(1)  # as in the workers
    spent = {name: seconds for name in setup.victims if (seconds := _round(setup, name)) is not None}
    lines = [plan.dump(), "# The grid: batches for every attack (rows) through every defense, naive + informed"]
    for client in setup.victims:
        cells = Counter((t.defense, t.attack, t.informed) for t in attacks if t.client == client)
        for defense in dict.fromkeys(defense for defense, _, _ in cells):
            tried = dict.fromkeys(attack for d, attack, _ in cells if d == defense)
            told = (f"{a} {cells[defense, a, False]}" + _informed(cells[defense, a, True]) for a in tried)
            lines.append(one_line(f"# {client}, {defense_name(defense)}: {', '.join(told)}"))
    counted = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
    lines.append(f"# {len(trials)} trials: {counted}")
    if len(spent) == len(setup.victims):
        seconds = sum(_seconds(setup, trial, spent[trial.client]) for trial in trials) / jobs
        lines.append(f"# very roughly {duration(seconds)} with jobs = {jobs}, judged by one round of training")
    if plan.audit.budget is not None:
        lines.append(f"# nothing new is started after {duration(plan.audit.budget)}; the same command then continues")
    return "\n".join(lines) + "\n"


def _informed(count: int) -> str:
    return f" + {count}" if count else ""


def _round(setup: Setup, name: str) -> float | None:
    """Seconds of one round of this client's training, the quickest of three; None for a captured update."""
    from gradiometer.core import derive

    victim, times = setup.victims[name], []
    if victim.data is None:
        return None
    for _ in range(3):
        started = time.perf_counter()
        victim.client.train(victim.batch(0), rng=derive(0, "dry"))
        times.append(time.perf_counter() - started)
    return min(times)


def _seconds(setup: Setup, trial: Trial, once: float) -> float:
    """Rounds of training that the trial is worth, times the seconds of one."""
    if trial.kind == "defense":
        utility = setup.plan.utility
        return once * (6 + utility.rounds * utility.clients)
    attack: Any = setup.attacks[trial.attack]
    passes = getattr(attack, "iterations", 1) * getattr(attack, "restarts", 1) * PASS
    return once * passes * {"attack": RUNS, "control": CONTROL, "decoy": 1}[trial.kind]
