"""run_audit: a plan becomes a run folder. Run it again and it goes on where it stopped."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from . import workers
from .assemble import assemble
from .dotted import source_hash
from .environment import environment
from .evidence import Record
from .modality import judged_as
from .plan import Plan
from .schema import Result
from .setup import Setup, set_up
from .store import FULL, Store, unwritable, write_whole
from .targets import dry_round
from .trials import Trial, grid


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a caller is told while an audit runs.

    Args:
        event: a trial `start`s or is `done`.
        done, total: trials; those of earlier runs count as done.
        best: the figure of the best example so far of this attack on this defense, such as its PSNR; told: the same in words.
        seconds_left: an estimate, None before the first trial is done.
    """

    event: Literal["start", "done"]
    trial: Trial
    done: int
    total: int
    record: Record | None = None
    best: float | None = None
    told: str = ""
    seconds_left: float | None = None


def run_audit(
    plan: Plan | Setup,
    folder: str | Path,
    *,
    jobs: int | None = None,
    ray: str | None = None,
    budget: float | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
    command: str = "",
) -> Result:
    """Computes the trials of a plan that its folder does not hold yet, and judges all of them.

    Args:
        plan: a plan, or a setup with live objects; the latter is computed in this process.
        folder: of the run. Holding finished trials of the same plan, it is continued; no finished trial is repeated.
        jobs, budget: override the plan's; seconds.
        ray: compute on a Ray cluster: `local`, `auto` or `host:port` (see `cluster.Cluster`).
        progress: called at the start and the end of every trial.
        command: told in the report, for whoever wants to reproduce it.

    Returns:
        The result, also written to `result.json`.

    Raises:
        BadConfig, BadInput: before any computation; or a full disk, with every finished trial kept.
    """
    started = time.monotonic()
    torch.set_num_threads(1)
    setup = plan if isinstance(plan, Setup) else set_up(plan)
    plan = setup.plan
    trials = preview(setup)
    prints = {name: victim.fingerprint for name, victim in setup.victims.items()}
    limit = plan.audit.budget if budget is None else budget
    with Store(folder, plan, prints, source_hash(plan.model_dump(mode="json"))) as store:
        state = _State(trials=trials, store=store, jobs=processes(setup, jobs), progress=progress)
        deadline, wanted = None if limit is None else started + limit, plan.audit.jobs if jobs is None else jobs
        state.left = [trial for trial in trials if trial.id not in store.records]
        for trial, record, why in _executed(setup, state, deadline, ray, wanted):
            state.finish(trial, record, why)
        try:
            write_whole(store.folder / "env.json", json.dumps(environment(), indent=1))
            result = assemble(
                setup,
                trials,
                store.records,
                state.lost,
                store.folder,
                time.monotonic() - started,
                environment(),
                command,
            )
            write_whole(store.folder / "result.json", result.model_dump_json(indent=1))
        except OSError as error:
            raise unwritable(store.folder, error) from error
    return result


def preview(plan: Plan | Setup) -> list[Trial]:
    """The trials of a plan, after one honest round of every client; nothing is attacked and nothing is written.

    Raises:
        BadConfig, BadInput: as `run_audit` would, before any computation.
    """
    setup = plan if isinstance(plan, Setup) else set_up(plan)
    for victim in setup.victims.values():
        dry_round(victim, setup.threat)
    return grid(setup)


@dataclass
class _State:
    """A run in progress: what is left, what was lost with a worker, and how long trials take."""

    trials: list[Trial]
    store: Store
    jobs: int
    progress: Callable[[Progress], None]
    left: list[Trial] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    spent: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    best: dict[tuple[Any, ...], float] = field(default_factory=dict)
    words: dict[tuple[Any, ...], str] = field(default_factory=dict)

    def start(self, trial: Trial) -> None:
        self.store.log(f"start {trial.id} {trial}")
        self._tell("start", trial, None)

    def finish(self, trial: Trial, record: Record | None, why: str) -> None:
        self.left.remove(trial)
        if record is None:
            self.lost[trial.id] = why
        else:
            self.store.append(record)
            self.spent.setdefault((trial.kind, trial.attack), []).append(record["seconds"])
            for example in record.get("examples", ()):
                case, kind = _case(trial), judged_as(example)
                self.best[case] = max(self.best.get(case, 0.0), example[kind.quality])
                self.words[case] = kind.told(self.best[case])
        self.store.log(f"end {trial.id} {record['status'] if record else why}")
        self._tell("done", trial, record)

    def _tell(self, event: Literal["start", "done"], trial: Trial, record: Record | None) -> None:
        done = len(self.trials) - len(self.left)
        case, left = _case(trial), self._seconds_left()
        self.progress(
            Progress(
                event=event,
                trial=trial,
                done=done,
                total=len(self.trials),
                record=record,
                best=self.best.get(case),
                told=self.words.get(case, ""),
                seconds_left=left,
            )
        )

    def _seconds_left(self) -> float | None:
        means = {key: sum(values) / len(values) for key, values in self.spent.items()}
        if not means:
            return None
        typical = sum(means.values()) / len(means)
        return sum(means.get((trial.kind, trial.attack), typical) for trial in self.left) / self.jobs


def _case(trial: Trial) -> tuple[Any, ...]:
    return trial.kind, trial.client, trial.defense, trial.attack, trial.informed


def _executed(
    setup: Setup, state: _State, deadline: float | None, ray: str | None, wanted: int
) -> Iterator[workers.Finished]:
    def waiting() -> Iterator[Trial]:
        for trial in list(state.left):
            if deadline is not None and time.monotonic() >= deadline:
                return
            yield trial

    folder, log = state.store.folder, state.store.log
    try:
        if state.jobs == 1 and ray is None:
            yield from workers.inline(setup, waiting(), folder, log, state.start)
        elif state.left:
            yield from workers.given(_crew(setup, state, ray, wanted), waiting(), log, state.start)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise unwritable(state.store.folder, error) from error


def _crew(setup: Setup, state: _State, ray: str | None, wanted: int) -> workers.Crew:
    if ray is None:
        from .processes import Processes

        return Processes(setup, state.store.folder, min(state.jobs, len(state.left)))
    from .cluster import Cluster

    crew = Cluster(setup, state.store.folder, ray, wanted)
    state.jobs = crew.width
    return crew


def processes(setup: Setup, jobs: int | None) -> int:
    """How many processes: live objects cannot be rebuilt elsewhere, so they are computed here."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = (setup.plan.audit.jobs if jobs is None else jobs) or cores
    return 1 if setup.live else min(wanted, cores)
