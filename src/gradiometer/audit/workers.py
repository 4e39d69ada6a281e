"""Workers: trials are computed here, or given to a crew elsewhere. Whoever computes them, their records are the same."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from gradiometer.core import BadConfig

from .compute import compute
from .evidence import Record
from .plan import Plan
from .setup import Setup, set_up
from .trials import Trial

Finished = tuple[Trial, Record | None, str]
"""A trial with its record, or without one and the reason why whoever computed it is gone."""


@runtime_checkable
class Crew(Protocol):
    """Computes trials elsewhere: in processes of this machine, or on a cluster."""

    attempts: int
    """How often a trial is given before it is reported as lost."""

    def room(self) -> bool:
        """Whether one more trial can be given."""
        ...

    def give(self, trial: Trial) -> None:
        """Starts a trial."""
        ...

    def finished(self) -> Iterable[Finished]:
        """Waits a while; the trials that have ended. Beside a record stands what the log is told."""
        ...

    def idle(self) -> bool:
        """Whether no trial is being computed."""
        ...

    def close(self) -> None:
        """Ends all work, finished or not."""
        ...


def inline(
    setup: Setup, trials: Iterable[Trial], folder: Path, log: Callable[[str], None], started: Callable[[Trial], None]
) -> Iterator[Finished]:
    """Computes in this process, one trial after the other."""
    for trial in trials:
        started(trial)
        yield trial, compute(setup, trial, folder, log), ""


def given(
    crew: Crew, trials: Iterable[Trial], log: Callable[[str], None], started: Callable[[Trial], None]
) -> Iterator[Finished]:
    """Computes with a crew. Trials are yielded as they finish; one whose worker is lost is given again first.

    Raises:
        OSError: a worker met a full disk.
        BadConfig: a worker cannot build what the plan spells.
    """
    waiting, lost, tries = iter(trials), deque[Trial](), Counter[str]()
    try:
        while True:
            while crew.room():
                trial = lost.popleft() if lost else next(waiting, None)
                if trial is None:
                    break
                if not tries[trial.id]:
                    started(trial)
                tries[trial.id] += 1
                crew.give(trial)
            if crew.idle():
                return
            for trial, record, told in crew.finished():
                if record is not None:
                    log(told) if told else None
                    yield trial, record, ""
                elif tries[trial.id] < crew.attempts:
                    log(f"again {trial.id} {told}")
                    lost.append(trial)
                else:
                    yield trial, None, told
    finally:
        crew.close()


def prints_of(setup: Setup) -> dict[str, str]:
    """The fingerprint of every client."""
    return {name: victim.fingerprint for name, victim in setup.victims.items()}


def rebuilt(document: dict[str, Any], prints: dict[str, str]) -> Setup:
    """The setup of a plan in another process than the one that will judge its results.

    Args:
        document: the plan, as JSON.
        prints: fingerprints of the clients there.

    Raises:
        BadConfig: a client is another one here.
    """
    setup = set_up(Plan.model_validate(document))
    for name, print in prints_of(setup).items():
        if print != prints[name]:
            raise BadConfig(
                "it is another client every time that it is built: its weights or its data differ between two processes",
                where=f'client "{name}"',
                fix="seed whatever it draws at random; on a cluster, use machines of one kind",
            )
    return setup
