"""Workers: single-threaded processes that compute trials, and die with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from gradiometer.core import BadConfig
from gradiometer.core.children import die_with

from .compute import Record, compute
from .plan import Plan
from .setup import Setup, set_up
from .trials import Trial

Finished = tuple[Trial, Record | None, str]
"""A trial with its record, or without one and the reason why its process is gone."""


def inline(setup: Setup, trials: Iterable[Trial], folder: Path, log: Any, started: Any) -> Iterator[Finished]:
    """Computes in this process, one trial after the other."""
    for trial in trials:
        started(trial)
        yield trial, compute(setup, trial, folder, log), ""


def pooled(
    setup: Setup, trials: Iterable[Trial], folder: Path, log: Any, started: Any, jobs: int
) -> Iterator[Finished]:
    """Computes in `jobs` processes; each builds its own objects from the plan. Trials are yielded as they finish.

    Raises:
        OSError: a worker met a full disk.
    """
    waiting = iter(trials)
    workers = [_Worker.start(setup, folder) for _ in range(jobs)]
    try:
        while workers:
            for worker in workers:
                if worker.trial is None and not worker.done:
                    worker.give(next(waiting, None), started)
            workers = [worker for worker in workers if not worker.done]
            for ready in wait([worker.pipe for worker in workers], timeout=1.0) if workers else ():
                worker = next(worker for worker in workers if worker.pipe is ready)
                finished, message = worker.take(), ""
                assert worker.trial is not None
                if isinstance(finished, BaseException):
                    raise finished
                if finished is None:
                    message = worker.epitaph()
                    workers[workers.index(worker)] = _Worker.start(setup, folder)
                else:
                    finished, text = finished
                    log(text) if text else None
                yield worker.trial, finished, message
                worker.trial = None
    finally:
        for worker in workers:
            worker.stop()


@dataclass(eq=False)
class _Worker:
    process: Any
    pipe: Connection
    trial: Trial | None = None
    done: bool = False

    @classmethod
    def start(cls, setup: Setup, folder: Path) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        prints = {name: victim.fingerprint for name, victim in setup.victims.items()}
        told = (theirs, setup.plan.model_dump(mode="json"), prints, folder, os.getpid())
        process = context.Process(target=_work, args=told, daemon=True)
        process.start()
        theirs.close()
        return cls(process, ours)

    def give(self, trial: Trial | None, started: Any) -> None:
        if trial is None:
            self.done = True
            self.stop()
            return
        self.trial = trial
        started(trial)
        self.pipe.send(trial)

    def take(self) -> Any:
        try:
            return self.pipe.recv()
        except (EOFError, ConnectionResetError):
            return None

    def epitaph(self) -> str:
        self.process.join()
        code = self.process.exitcode
        return (
            f"its process was ended by signal {-code} (out of memory?)"
            if code < 0
            else f"its process ended with code {code}"
        )

    def stop(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.join()


def _work(pipe: Connection, document: dict[str, Any], prints: dict[str, str], folder: Path, parent: int) -> None:
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    torch.set_num_threads(1)
    try:
        setup = _same(set_up(Plan.model_validate(document)), prints)
        while True:
            trial, texts = pipe.recv(), list[str]()
            pipe.send((compute(setup, trial, folder, texts.append), "\n".join(texts)))
    except (EOFError, ConnectionError):  # the parent is done, or gone
        return
    except Exception as error:  # a client that cannot be built here, or a full disk: the parent tells it
        pipe.send(error)


def _same(setup: Setup, prints: dict[str, str]) -> Setup:
    for name, victim in setup.victims.items():
        if victim.fingerprint != prints[name]:
            raise BadConfig(
                "it is another client every time that it is built: its weights or its data differ between two processes",
                where=f'client "{name}"',
                fix="seed whatever it draws at random",
            )
    return setup
