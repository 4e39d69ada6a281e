"""`gradiometer train`: a plan's federated trainings, a line a round on stderr, a table on stdout."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from .messages import say

if TYPE_CHECKING:
    from gradiometer.audit.plan import Plan
    from gradiometer.audit.train import Trains

STEPS = 10
"""So many lines tell of one training."""


def run(arguments: Namespace) -> int:
    """0: every training reached its last round; 3: one stopped before."""
    from gradiometer.audit import load_plan, make_plan
    from gradiometer.audit.train import run_training
    from gradiometer.report.training import render_training

    plan = load_plan(arguments.plan)
    if arguments.seed is not None:
        plan = make_plan(plan.model_dump(mode="json") | {"seed": arguments.seed}, source="command line")
    folder = Path(arguments.output or _folder(plan))
    if not arguments.quiet:
        say(f"run folder: {folder}")
    command = shlex.join(["gradiometer", *sys.argv[1:]])
    watch = _quiet if arguments.quiet else _tell
    result = run_training(plan, folder, runtime=arguments.runtime, progress=watch, command=command)
    page = folder / "training.html"
    page.write_text(render_training(result, "html"), encoding="utf-8")
    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    width = shutil.get_terminal_size((100, 24)).columns
    print(render_training(result, arguments.format, width=width, color=color), end="", flush=True)
    for one in result.runs:
        if one.error:
            say(f"{one.defense}: {one.error}")
    return 3 if any(one.error for one in result.runs) else 0


def _folder(plan: Plan) -> Path:
    from gradiometer.audit import run_folder
    from gradiometer.audit.plan import digest

    place = run_folder(plan)
    return place.with_name(f"{place.name}-train-{digest(plan.train.model_dump(mode='json'))[:6]}")


def _quiet(_: Trains) -> None:
    return None


def _tell(event: Trains) -> None:
    """Now and then a line; every round in which somebody sent nothing."""
    from gradiometer.report.figures import percent
    from gradiometer.report.words import defense_name, one_line

    one, every = event.round, max(1, event.rounds // STEPS)
    for member, why in one.refused.items():
        say(one_line(f"round {one.number}: {member} sent nothing: {why}"))
    if (one.number + 1) % every == 0 or one.number + 1 == event.rounds:
        value = one.accuracy.value if one.accuracy else None
        reached = f", accuracy {percent(value)}" if value is not None else ""
        say(one_line(f"{defense_name(event.defense)}: round {one.number + 1} of {event.rounds}{reached}"))
