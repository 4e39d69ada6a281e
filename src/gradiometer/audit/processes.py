"""Processes: single-threaded workers on this machine, which die with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from gradiometer.core.children import die_with

from .compute import compute
from .setup import Setup
from .trials import Trial
from .workers import Finished, prints_of, rebuilt


class Processes:
    """A crew of `jobs` processes; each builds its own objects from the plan. See `workers.Crew`."""

    attempts = 1  # what ends a process here (mostly memory) ends it again

    def __init__(self, setup: Setup, folder: Path, jobs: int) -> None:
        self._told = (setup.plan.model_dump(mode="json"), prints_of(setup), folder)
        self._workers = [_Worker.start(*self._told) for _ in range(jobs)]

    def room(self) -> bool:
        return any(worker.trial is None for worker in self._workers)

    def idle(self) -> bool:
        return all(worker.trial is None for worker in self._workers)

    def give(self, trial: Trial) -> None:
        next(worker for worker in self._workers if worker.trial is None).give(trial)

    def finished(self) -> Iterator[Finished]:
        for ready in wait([worker.pipe for worker in self._workers if worker.trial is not None], timeout=1.0):
            worker = next(worker for worker in self._workers if worker.pipe is ready)
            trial, answer = worker.take()
            if isinstance(answer, BaseException):
                raise answer
            if answer is None:
                self._workers[self._workers.index(worker)] = _Worker.start(*self._told)
                yield trial, None, worker.epitaph()
            else:
                yield trial, *answer

    def close(self) -> None:
        for worker in self._workers:
            worker.stop()


@dataclass(eq=False)
class _Worker:
    process: Any
    pipe: Connection
    trial: Trial | None = None

    @classmethod
    def start(cls, document: dict[str, Any], prints: dict[str, str], folder: Path) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, document, prints, folder, os.getpid()), daemon=True)
        process.start()
        theirs.close()
        return cls(process, ours)

    def give(self, trial: Trial) -> None:
        self.trial = trial
        with suppress(BrokenPipeError):  # it has ended: what it left in the pipe says why
            self.pipe.send(trial)

    def take(self) -> tuple[Trial, Any]:
        """The trial, and its record and log; or an error; or None where the process is gone."""
        trial, self.trial = self.trial, None
        assert trial is not None
        try:
            return trial, self.pipe.recv()
        except (EOFError, ConnectionResetError):
            return trial, None

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
        setup = rebuilt(document, prints)
        while True:
            trial, texts = pipe.recv(), list[str]()
            pipe.send((compute(setup, trial, folder, texts.append), "\n".join(texts)))
    except (EOFError, ConnectionError):  # the parent is done, or gone
        return
    except Exception as error:  # a client that cannot be built here, or a full disk: the parent tells it
        pipe.send(error)
