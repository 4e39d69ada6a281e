"""The report in a terminal: what a person needs before opening the HTML. Plain text where nothing else is wanted."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradiometer.audit.schema import Finding, Result, Row, Verdict

from . import drawings, figures, quotes, words

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

STYLES: dict[Verdict, str] = {"LEAKS": "bold red", "HOLDS": "bold green", "INCONCLUSIVE": "bold yellow"}
COLUMNS = {"Worst attack": 86, "n": 92, "Accuracy": 104, "Bytes": 114, "Seconds": 124, "ε": 132}
"""From which width on a column is shown; defense, verdict, leak rate and interval always are."""


def render_terminal(result: Result, *, width: int = 100, color: bool = False) -> str:
    """Verdict, defenses with their costs, advice, findings, and what to doubt; `width` decides how many columns."""
    from rich.console import Console
    from rich.text import Text

    stream = io.StringIO()
    console = Console(
        file=stream,
        width=max(40, width),
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
    )
    level = f" ({result.level})" if result.verdict == "LEAKS" and result.level != "none" else ""
    head = Text(f"{words.SYMBOLS[result.verdict]} {result.verdict}{level}", style=STYLES[result.verdict])
    console.print(head.append(f"  {words.one_line(result.title)}", style="not bold default"))
    console.print(Text(words.one_line(result.headline)))
    if not result.complete:
        console.print(Text("Stopped before it was complete: run the same command again to continue.", style="bold"))
    for client in words.clients_of(result):
        rows = [row for row in result.rows if row.client == client]
        if rows:
            console.print()
            console.print(Text(words.one_line(client), style="bold"))
            console.print(_defenses(rows, console.width))
    for excerpt in quotes.excerpts(result):
        _section(console, f"What came back: {words.one_line(excerpt.client)}", _quoted(excerpt))
    for graphs in drawings.drawings(result):
        best = [
            (
                "▲" if d.leaked else "◇" if d.gsm is None else "●",
                f"{words.defense_name(d.defense)}: {drawings.told(d)}",
                "",
            )
            for d, _ in graphs.lines[0].guesses
        ]
        _section(console, f"What came back: {words.one_line(graphs.client)}", best)
    metered = [
        (client.name, words.one_line(f"{client.meter.attack}: {words.meter_line(client.meter)}"), "")
        for client in result.clients
        if client.meter
    ]
    _section(console, "Exact attacks, predicted without defense", metered)
    advice = []
    for told in result.recommendations:
        advice.append(("", words.one_line(f"{told.client}: {told.text}"), ""))
        advice += [("", words.one_line(f"{number}. {line}"), "") for number, line in enumerate(told.ranked, 1)]
    _section(console, "What to do", advice)
    order = sorted(result.findings, key=lambda finding: words.SEVERITIES.index(finding.severity))
    _section(console, "Findings", [entry for finding in order for entry in _finding(finding)])
    _section(console, "How sure are we", [(mark, words.one_line(doubt), "") for mark, doubt in _doubts(result)])
    console.print()
    console.print(Text(words.CAVEAT, style="dim"))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _defenses(rows: list[Row], width: int) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), header_style="dim")
    table.add_column("Defense", overflow="fold", min_width=10)
    table.add_column("Verdict", no_wrap=width >= 70)
    for name in ("Leaks", "95 %"):
        table.add_column(name, justify="right", no_wrap=True)
    shown = [name for name, needed in COLUMNS.items() if width >= needed]
    for column in shown:
        text = column == "Worst attack"
        table.add_column(column, justify="left" if text else "right", no_wrap=not text, overflow="fold")
    for row in rows:
        verdict = Text(f"{words.SYMBOLS[row.verdict]} {words.verdict_words(row)}", style=STYLES[row.verdict])
        rate, span, n = figures.MISSING, "", ""
        if row.rate is not None:
            rate, n = figures.percent(row.rate.value), str(row.rate.n)
            span = f"{figures.percent(row.rate.lower)[:-2]} to {figures.percent(row.rate.upper)[:-2]}"
        cost = row.cost
        more = {
            "n": n,
            "Worst attack": words.one_line(row.worst_attack or figures.MISSING) + ("*" if row.worst_informed else ""),
            "Accuracy": figures.percent(cost.accuracy.value if cost.accuracy else None),
            "Bytes": figures.size(cost.bytes),
            "Seconds": figures.duration(cost.seconds),
            "ε": figures.number(cost.epsilon),
        }
        defense = Text(words.one_line(words.defense_name(row.defense)))
        table.add_row(defense, verdict, Text(rate), Text(span), *(Text(more[column]) for column in shown))
    if "Worst attack" in shown and any(row.worst_informed for row in rows):
        table.caption, table.caption_justify = Text("* knows the defense", style="dim"), "left"
    return table


def _finding(finding: Finding) -> list[tuple[str, str, str]]:
    style = {"critical": "bold red", "high": "red", "medium": "yellow"}.get(finding.severity, "")
    where = ", ".join(part for part in (finding.client, words.defense_name(finding.defense), finding.attack) if part)
    told: list[tuple[str, str, str]] = [(finding.severity, words.one_line(f"{finding.title} ({where})"), style)]
    return [*told, ("", f"fix: {words.one_line(finding.fix)}", "")] if finding.fix else told


def _quoted(excerpt: quotes.Excerpts) -> list[tuple[str, str | Text, str]]:
    """The attacker's best sentence, and what is left of it behind every defense; wrong words stand in brackets."""
    from rich.text import Text

    best = excerpt.lines[0]
    told: list[tuple[str, str | Text, str]] = []
    if best.truth:
        told.append(("truth", quotes.plain(best.truth, mark=False), "bold"))
    for quote in best.guesses:
        judged = quote.rouge_l is not None
        line = Text()
        for token in quote.guess[: quotes.MOST]:
            line.append(quotes.plain([token], mark=judged), style=("green" if token.right else "red") if judged else "")
            line.append(" ")
        who = f"({words.defense_name(quote.defense)}: {quotes.told(quote)})"
        line.append(words.one_line(who if quote.guess else f"(nothing) {who}"), style="dim")
        told.append(("▲" if quote.leaked else "●" if judged else "◇", line, "red" if quote.leaked else ""))
    return told


def _doubts(result: Result) -> list[tuple[str, str]]:
    """What speaks against trusting the verdict, each with its mark."""
    failed = [control for control in result.controls if not control.passed]
    passed, doubts = len(result.controls) - len(failed), []
    if result.controls:
        doubts.append(("✓" if not failed else "✕", f"{passed} of {len(result.controls)} attacks passed their control"))
    doubts += [("✕", f"{c.attack} failed its control: {c.reason or 'it fails on an easy victim too'}") for c in failed]
    for check, places in words.grouped(result.checks):
        if not check.ok:
            where = f" at {words.some(places, 2)}" if places else ""
            doubts.append(("✕", f"{check.name.replace('_', ' ')} fired{where}: {check.detail}"))
    for row in result.rows:
        if row.verdict == "INCONCLUSIVE":
            why = "; ".join(words.doubts(row)) or "no reason given"
            doubts.append(("◇", f"{words.defense_name(row.defense)} is inconclusive: {why}"))
    return doubts


def _section(console: Console, title: str, entries: Sequence[tuple[str, str | Text, str]]) -> None:
    """Entries of a mark, a text and the mark's style."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    if not entries:
        return
    grid = Table.grid(padding=(0, 1))
    for mark, text, style in entries:
        grid.add_row(
            *([Text(mark, style=style)] if any(e[0] for e in entries) else []),
            Text(text) if isinstance(text, str) else text,
        )
    console.print()
    console.print(Text(title, style="bold"))
    console.print(Padding(grid, (0, 0, 0, 2)))
