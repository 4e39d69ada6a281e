"""Starts side by side: here, or in forked processes of one thread, which share all memory until they write to it."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import fields
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol, runtime_checkable

import torch

from gradiometer.core import BadConfig, GradiometerError
from gradiometer.core.children import die_with

from .trial import Trial

KEPT = ("objective", "linearize", "project", "budget", "rng", "between")
"""Parts of a trial that stay in the process that descends it."""


@runtime_checkable
class Meeting(Protocol):
    """Where starts look at each other between iterations."""

    def __call__(self, running: bool) -> bool:
        """Tells whether starts of this group go on, and is told whether any start does."""
        ...


class Here:
    """All starts are in this group."""

    def __init__(self, trials: list[Trial], *, compare: bool) -> None:
        self._trials, self._compare = trials, compare and len(trials) > 1

    def __call__(self, running: bool) -> bool:
        if self._compare and running:
            mean = torch.stack([trial.unknowns[0] for trial in self._trials]).mean(0)
            for trial in self._trials:
                trial.consensus = mean
        return running


class Board:
    """The pictures of all starts in memory that all processes see. Two of them in turns: nobody is two rounds ahead."""

    def __init__(self, trials: list[Trial], jobs: int) -> None:
        first = trials[0].unknowns[0]
        self._pictures = first.new_empty(2, len(trials), *first.shape).share_memory_()
        self._running = torch.zeros(2, jobs, dtype=torch.bool).share_memory_()
        self.barrier = multiprocessing.get_context("fork").Barrier(jobs)

    def meeting(self, trials: list[Trial], job: int, jobs: int) -> Meeting:
        """For the group of starts `job`, `job + jobs`, ..."""
        turn = 0

        def meet(running: bool) -> bool:
            nonlocal turn
            turn = 1 - turn
            for row, trial in zip(self._pictures[turn][job::jobs], trials):
                row.copy_(trial.unknowns[0])
            self._running[turn][job] = running
            self.barrier.wait()
            mean = self._pictures[turn].mean(0)
            for trial in trials:
                trial.consensus = mean
            return bool(self._running[turn].any())

        return meet


def side_by_side(
    trials: list[Trial], descend: Callable[[list[Trial], Meeting], None], jobs: int, *, compare: bool
) -> None:
    """Descends all trials, in `jobs` processes where they can be forked: on Linux, on a CPU, outside of an audit's worker.

    Args:
        descend: some of the trials to their ends.
        compare: a prior looks at the mean picture of all starts, so that they go in step.

    Raises:
        BadConfig: a process was ended from outside.
    """
    jobs = min(jobs, len(trials))
    together = Here(trials, compare=compare)
    forks = sys.platform == "linux" and trials[0].unknowns[0].device.type == "cpu"
    if jobs == 1 or not forks or multiprocessing.current_process().daemon:
        return descend(trials, together)
    together(True)
    # The engine chooses its path at its first call, by the first start: here, before processes share it.
    trials[0].objective(trials[0].unknowns, trials[0].consensus, False)
    board = Board(trials, jobs) if compare else None
    processes, pipes = list[Any](), dict[Any, list[Trial]]()
    try:
        for job in range(jobs):
            group = trials[job::jobs]
            meeting = Here(group, compare=False) if board is None else board.meeting(group, job, jobs)
            process, pipe = _forked(descend, group, meeting)
            processes.append(process)
            pipes[pipe] = group
        while pipes:
            for ready in wait(list(pipes)):
                _take(ready, pipes.pop(ready))
    finally:
        for process in processes:
            process.kill()
            process.join()
        for pipe in pipes:
            pipe.close()
    return None


def _forked(descend: Callable[[list[Trial], Meeting], None], group: list[Trial], meeting: Meeting) -> tuple[Any, Any]:
    """A process at work, and the pipe in which it will leave what it finds."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, os.getpid(), descend, group, meeting), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _work(
    pipe: Connection,
    parent: int,
    descend: Callable[[list[Trial], Meeting], None],
    group: list[Trial],
    meeting: Meeting,
) -> None:
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    torch.set_num_threads(1)
    try:
        descend(group, meeting)
        told: Any = [{f.name: getattr(t, f.name) for f in fields(t) if f.name not in KEPT} for t in group]
    except GradiometerError as error:
        told = error
    except Exception:  # a user's model or prior may raise anything, also what cannot be sent
        told = traceback.format_exc()
    pipe.send_bytes(pickle.dumps(told))


def _take(pipe: Any, group: list[Trial]) -> None:
    """What a process has found becomes that of the trials here."""
    try:
        told = pickle.loads(pipe.recv_bytes())  # of a process that was forked from this one
    except EOFError as error:
        raise BadConfig("a process of this attack was ended from outside (out of memory?)", fix="lower jobs") from error
    finally:
        pipe.close()
    if isinstance(told, Exception):
        raise told
    if isinstance(told, str):
        raise RuntimeError(f"in a process of this attack:\n{told}")
    for trial, found in zip(group, told, strict=True):
        for name, value in found.items():
            setattr(trial, name, value)
