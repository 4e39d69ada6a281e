"""Federated trainings as text, as a page, and as JSON."""

from __future__ import annotations

import io
from typing import Any

from gradiometer.audit.schema_training import Trained, TrainedLeak, TrainingResult

from . import figures, words

ENOUGH = 0.95
"""Share of the undefended accuracy from which on learning goes on."""
MOMENTS = 6
"""So many accuracies on the way are told in a terminal."""
COLUMNS = {
    "Accuracy": 0,
    "95 %": 0,
    "Kept": 96,
    "Worth it": 112,
    "Worst": 0,
    "Rounds": 0,
    "Uplink": 80,
    "Time": 88,
    "ε in all": 104,
    "Defense time": 120,
}
"""From which width on a terminal shows a column. Kept: share of the accuracy without defense; worth it: see `worth`."""


def render_training(result: TrainingResult, format: str = "terminal", *, width: int = 100, color: bool = False) -> str:
    """The result as `terminal`, `html` or `json`."""
    if format == "json":
        return result.model_dump_json(indent=2) + "\n"
    if format == "html":
        return _page(result)
    return _terminal(result, width, color)


def kept(result: TrainingResult, run: Trained) -> float | None:
    """Accuracy over that without defense; None where either is missing."""
    bare = next((one.accuracy for one in result.runs if words.is_undefended(one.defense)), None)
    return run.accuracy.value / bare.value if run.accuracy and bare and bare.value else None


def worth(result: TrainingResult, run: Trained) -> bool | None:
    """Whether training behind this defense keeps `ENOUGH` of the accuracy without one and beats every member alone.

    Means are compared, not intervals; None where something was not measured.
    """
    share = kept(result, run)
    if share is None or run.accuracy is None or result.alone is None:
        return None
    return share >= ENOUGH and run.accuracy.value > result.alone.accuracy.value


def leak_lines(run: Trained) -> list[tuple[str, str]]:
    """For every attack what it read, round by round: the worst over the recorded members."""
    lines = []
    for attack in dict.fromkeys(leak.attack for leak in run.leaks):
        mine = [leak for leak in run.leaks if leak.attack == attack]
        told = [_leak([leak for leak in mine if leak.round == n]) for n in sorted({leak.round for leak in mine})]
        lines.append((attack, "; ".join(told)))
    return lines


def _leak(found: list[TrainedLeak]) -> str:
    round = f"round {found[0].round + 1}"
    told = []
    pictures = [leak for leak in found if leak.psnr is not None]
    if pictures:
        best = max(pictures, key=lambda leak: leak.psnr or 0.0)
        of = sum(leak.examples for leak in pictures)
        told.append(
            f"best {figures.decibel(best.psnr)}, {sum(leak.identified or 0 for leak in pictures)} of {of} identified"
        )
    named = [leak for leak in found if leak.labels is not None]
    if named:
        best = max(named, key=lambda leak: (leak.labels or 0.0) - (leak.blind_labels or 0.0))
        told.append(f"labels {figures.percent(best.labels)}, blind {figures.percent(best.blind_labels)}")
    return f"{round} {', '.join(told) or found[0].reason}"


def round_lines(result: TrainingResult, run: Trained) -> list[str]:
    """What went otherwise than planned, and what secure aggregation took."""
    lines = []
    refused = sum(len(one.refused) for one in run.rounds)
    if refused:
        lines.append(f"{refused} contributions are in no mean: refused, or their members dropped out")
    lost = sum(not one.clients for one in run.rounds)
    if result.aggregation and run.rounds:
        told = f"adding up unseen took {figures.duration(run.aggregation_seconds)} of CPU, members and server together"
        told += f"; {lost} of {len(run.rounds)} rounds were lost" if lost else ""
        told += (
            f"; up to {figures.percent(run.clipped)} of a message's entries were cut to its range"
            if run.clipped
            else ""
        )
        lines.append(told)
    if run.epsilon is not None and run.epsilon_of == "sum":
        lines.append("ε is of the sum over members: whoever sees a single message has less noise before him")
    return lines


def curve(run: Trained, width: float = 160.0, height: float = 40.0) -> str:
    """Points of an SVG polyline: accuracy over rounds, from 0 to 1."""
    told = [(one.number + 1, one.accuracy) for one in run.rounds if one.accuracy is not None]
    told = [(0, run.first), *told] if run.first is not None else told
    last = max((number for number, _ in told), default=0) or 1
    return " ".join(f"{width * number / last:.1f},{height * (1 - value):.1f}" for number, value in told)


def _terminal(result: TrainingResult, width: int, color: bool) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    stream = io.StringIO()
    console = Console(
        file=stream,
        width=max(40, width),
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
    )
    console.print(Text(words.one_line(result.title), style="bold"))
    console.print(Text(words.one_line(story(result))))
    from rich import box

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), header_style="dim")
    table.add_column("Defense", overflow="fold", min_width=10)
    shown = [name for name, needed in COLUMNS.items() if width >= needed]
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True)
    for run in result.runs:
        told = _cells(result, run)
        table.add_row(Text(words.one_line(words.defense_name(run.defense))), *(Text(told[name]) for name in shown))
    if "Kept" in shown:
        note = "Kept: share of the accuracy without defense"
        note += (
            f"; worth it: at least {figures.percent(ENOUGH)} kept, and above every member alone"
            if "Worth it" in shown
            else ""
        )
        table.caption, table.caption_justify = Text(note, style="dim"), "left"
    console.print(table)
    for run in result.runs:
        console.print(Text(words.one_line(f"{words.defense_name(run.defense)}: {_way(run)}"), style="dim"))
        for line in round_lines(result, run):
            console.print(Text(f"  {line}", style="yellow"))
        if run.error:
            console.print(Text(words.one_line(f"  stopped: {run.error}"), style="bold red"))
    if any(run.leaks for run in result.runs):
        console.print()
        console.print(
            Text("What attacks read off recorded updates (informed of the defense where they can be)", style="bold")
        )
    for run in result.runs:
        for attack, found in leak_lines(run):
            console.print(Text(words.one_line(f"{words.defense_name(run.defense)}, {attack}: {found}")))
    if any(run.updates for run in result.runs):
        console.print(Text("Recorded updates: gradiometer scan RUN/UPDATE.safetensors --model MODEL", style="dim"))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def story(result: TrainingResult) -> str:
    """What was trained, in one line."""
    sizes = list(result.members.values())
    each = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
    goal = f", target {figures.percent(result.target)}" if result.target else ""
    seen = f"; what is seen is the sum over members alone, by {result.aggregation}" if result.aggregation else ""
    seen += f"; a member answers no more with chance {figures.percent(result.dropout)}" if result.dropout else ""
    base = f", always naming the commonest class {figures.percent(result.majority)}" if result.majority else ""
    if result.alone:
        best = result.alone
        base += f", the best of {best.of} members alone {figures.percent(best.accuracy.value)} ({best.member})"
    return (
        f"{result.strategy}, {result.planned} rounds, {len(sizes)} members with {each} examples, {result.split}; "
        f"{result.model} of {figures.count(result.parameters)} parameters, seed {result.seed}{goal}{base}{seen}"
    )


def _cells(result: TrainingResult, run: Trained) -> dict[str, str]:
    accuracy = run.accuracy
    span = f"{figures.percent(accuracy.lower)[:-2]} to {figures.percent(accuracy.upper)[:-2]}" if accuracy else ""
    reached = (
        f"{run.to_target} of {result.planned}"
        if run.to_target
        else "not reached"
        if result.target
        else str(len(run.rounds))
    )
    return {
        "Accuracy": figures.percent(accuracy.value if accuracy else None),
        "95 %": span,
        "Kept": figures.percent(kept(result, run)),
        "Worth it": {True: "yes", False: "no", None: figures.MISSING}[worth(result, run)],
        "Worst": figures.percent(run.worst),
        "Rounds": reached,
        "Uplink": figures.size(run.uplink_bytes),
        "Time": figures.duration(run.seconds),
        "Defense time": figures.duration(run.defense_seconds),
        "ε in all": figures.number(run.epsilon) if run.epsilon is not None else "no bound",
    }


def _way(run: Trained) -> str:
    told = [one for one in run.rounds if one.accuracy is not None]
    step = max(1, -(-len(told) // MOMENTS))
    some = told[step - 1 :: step]
    some = some if not told or some[-1] is told[-1] else [*some, told[-1]]
    start = [f"start {figures.percent(run.first)}"] if run.first is not None else []
    return ", ".join([*start, *(f"round {one.number + 1} {figures.percent(one.accuracy)}" for one in some)])


def section(result: TrainingResult) -> dict[str, Any]:
    """What the templates are told of all trainings."""
    return {
        "story": story(result),
        "rows": _rows(result),
        "aggregation": result.aggregation,
        "alone": result.alone,
        "enough": ENOUGH,
    }


def _rows(result: TrainingResult) -> list[dict[str, Any]]:
    return [
        {
            "run": run,
            "cells": _cells(result, run),
            "kept": kept(result, run),
            "curve": curve(run),
            "leaks": leak_lines(run),
            "told": round_lines(result, run),
        }
        for run in result.runs
    ]


def _page(result: TrainingResult) -> str:
    from .html import environment

    template = environment().get_template("training.html")
    return template.render(r=result, missing=figures.MISSING, **section(result))
