"""Progress on stderr: live lines on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

from gradiometer.report.figures import duration
from gradiometer.report.words import defense_name, one_line

if TYPE_CHECKING:
    from gradiometer.audit.run import Progress

STEPS = 20
"""Without a terminal a line is written whenever another of so many parts of the trials is done."""


def progress(*, quiet: bool, verbose: bool) -> Lines | Live:
    """What `run_audit` reports to, as a context manager."""
    if sys.stderr.isatty() and not quiet and not verbose:
        return Live()
    return Lines(every=not quiet and verbose, some=not quiet)


class Lines:
    """Plain lines: every trial, every twentieth part of all, or nothing at all but failures."""

    def __init__(self, *, every: bool, some: bool) -> None:
        self.every, self.some, self.told = every, some, -1

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __call__(self, event: Progress) -> None:
        if event.event != "done":
            return
        part = STEPS * event.done // max(1, event.total)
        if self.every or (self.some and part > self.told):
            self.told = part
            print(f"{event.done}/{event.total}{_left(event)}  {describe(event)}", file=sys.stderr, flush=True)
        elif broken(event):
            print(describe(event), file=sys.stderr, flush=True)


class Live:
    """One line for all trials, and one for each that is running: what it is, the best so far, the time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self.console = Console(stderr=True, highlight=False)
        self.live = RichLive(console=self.console, refresh_per_second=8, transient=True)
        self.running: dict[str, Progress] = {}

    def __enter__(self) -> Live:
        self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def __call__(self, event: Progress) -> None:
        if event.event == "start":
            self.running[event.trial.id] = event
        else:
            self.running.pop(event.trial.id, None)
            if broken(event):
                self.console.print(describe(event), markup=False, style="yellow")
        self.live.update(self._lines(event))

    def _lines(self, event: Progress) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        head = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=max(1, event.total), completed=event.done, width=28)
        head.add_row(Text(f"{event.done}/{event.total}"), bar, Text(_left(event).strip(), style="dim"))
        lines = [Text("  " + describe(one), overflow="ellipsis", no_wrap=True) for one in self.running.values()]
        return Group(head, *lines)


def describe(event: Progress) -> str:
    """`best 21.3 dB  hospital: InvertingGradients, informed, against Quantize(bits=3), batch 4`."""
    trial = event.trial
    against = f"{trial.attack}{', informed,' if trial.informed else ''} against {defense_name(trial.defense)}, batch {trial.batch}"
    what = {
        "control": f"control of {trial.attack}",
        "decoy": f"decoy for {trial.attack}",
        "defense": f"price of {defense_name(trial.defense)}",
    }.get(trial.kind, against)
    best = f"best {event.told}  " if event.told else ""
    why = f": failed, {event.record['reason'] if event.record else 'its process is gone'}" if broken(event) else ""
    return one_line(f"{best}{trial.client}: {what}{why}")


def broken(event: Progress) -> bool:
    """Whether the trial ended with an error: that is always told."""
    return event.event == "done" and (event.record is None or event.record.get("status") == "failed")


def _left(event: Progress) -> str:
    if event.seconds_left is None or event.done == event.total:
        return ""
    return f"  {duration(max(1, round(event.seconds_left)))} left"
