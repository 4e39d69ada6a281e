"""The report as Markdown, for pull requests and job summaries."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gradiometer.audit.schema import Result, Row

from . import drawings, figures, heat, quotes, words


def render_markdown(result: Result) -> str:
    """Verdict, advice, threat, defenses with their costs, findings, the grid, the checks, and how to reproduce it."""
    level = f" ({result.level})" if result.verdict == "LEAKS" and result.level != "none" else ""
    lines = [
        f"# {words.SYMBOLS[result.verdict]} {result.verdict}{level}: {text(result.title)}",
        "",
        text(result.headline),
    ]
    if not result.complete:
        lines += ["", "**This audit was stopped before it was complete.**"]
    lines += ["", "## What to do", ""]
    for advice in result.recommendations:
        lines.append(f"- {text(advice.client)}: {text(advice.text)}")
        lines += [f"  {number}. {text(line)}" for number, line in enumerate(advice.ranked, 1)]
    lines += [] if result.recommendations else ["This audit makes no recommendation."]
    lines += ["", "## Threat and client", "", f"- Observer: {text(result.threat.name)} ({text(result.threat.letter)})"]
    lines += [f"- Sees the sum of {result.threat.clients} clients"] if result.threat.clients > 1 else []
    lines += [f"- Knows, besides the update: {text(', '.join(result.threat.granted) or 'nothing')}"]
    lines += [f"- Does not know: {text(', '.join(result.threat.withheld) or 'nothing is withheld')}"]
    lines += [f"- Client {text(client.name)}: {text(words.client_line(client))}" for client in result.clients]
    lines += [
        f"- Exact attack on {text(client.name)} without defense, {text(client.meter.attack)}: {text(words.meter_line(client.meter))}"
        for client in result.clients
        if client.meter
    ]
    for client in words.clients_of(result):
        rows = [row for row in result.rows if row.client == client]
        lines += ["", f"## Defenses: {text(client)}", "", *table(DEFENSES, map(_row, rows))]
    for excerpt in quotes.excerpts(result):
        lines += ["", f"## What came back: {text(excerpt.client)}", "", "Wrong words stand in brackets."]
        for line in excerpt.lines:
            truth = [["truth", quotes.plain(line.truth, mark=False)]] if line.truth else []
            said = [
                [
                    f"{words.defense_name(q.defense)}: {quotes.told(q)}",
                    quotes.plain(q.guess, mark=q.rouge_l is not None),
                ]
                for q in line.guesses
            ]
            lines += ["", *table((words.KINDS[line.kind], line.example), truth + said)]
    for graphs in drawings.drawings(result):
        lines += ["", f"## What came back: {text(graphs.client)}"]
        for drawn in graphs.lines:
            entries = [[words.defense_name(d.defense), drawings.verdict(d), drawings.told(d)] for d, _ in drawn.guesses]
            lines += ["", *table((words.KINDS[drawn.kind], drawn.example, ""), entries)]
    if result.findings:
        found = sorted(result.findings, key=lambda finding: words.SEVERITIES.index(finding.severity))
        lines += ["", "## Findings", ""]
        lines += table(
            ("Severity", "Finding", "Where", "Leak rate", "Fix"),
            (
                [
                    f.severity,
                    f.title,
                    f"{f.client}, {words.defense_name(f.defense)}",
                    figures.share_interval(f.rate),
                    f.fix,
                ]
                for f in found
            ),
        )
    for found_map in heat.heat_maps(result):
        heads = [f"{name}, {attacker}" for name, attackers in found_map.columns for attacker in attackers]
        body = ([name, *(tile.text for tile in tiles)] for name, _, tiles in found_map.lines)
        lines += ["", f"## Attacks × defenses: {text(found_map.client)}", "", *table(("Attack", *heads), body)]
    lines += ["", *(f"- {text(silence)}" for silence in heat.silences(result))]
    lines += ["", "## How sure are we", ""]
    lines += [
        f"- Control {text(c.attack)}: {'passed' if c.passed else '**failed** ' + text(c.reason)}"
        for c in result.controls
    ]
    fired = [check for check in result.checks if not check.ok]
    lines += [f"- {len(fired)} of {len(result.checks)} tests of the evaluation fired"]
    lines += [
        f"  - {text(check.name)} ({text(words.some(places))}): {text(check.detail)}"
        for check, places in words.grouped(fired)
    ]
    lines += [f"- Not tried: {text(item)}" for item in result.not_tried]
    lines += ["", f"_{words.CAVEAT}_", "", "## Reproduce", "", *code(result.command), ""]
    lines += [f"Plan {text(result.plan_hash)}, seed {result.seed}, gradiometer {text(result.version)}", ""]
    lines += [*code(words.plan_text(result.plan), "toml"), ""]
    lines += [f"- {text(name)} {text(value)}" for name, value in result.environment.items()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


DEFENSES = ("Defense", "Verdict", "Leak rate", "Worst attack", "Accuracy", "Bytes", "Seconds", "ε")


def _row(row: Row) -> list[str]:
    cost = row.cost
    return [
        words.defense_name(row.defense),
        f"{words.SYMBOLS[row.verdict]} {words.verdict_words(row)}"
        + "".join(f"; {reason}" for reason in words.doubts(row)),
        figures.share_interval(row.rate),
        words.worst_words(row),
        figures.percent(cost.accuracy.value) if cost.accuracy else figures.MISSING,
        figures.size(cost.bytes),
        figures.duration(cost.seconds),
        figures.number(cost.epsilon),
    ]


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A pipe table; every entry is escaped."""
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(entry if entry == "---" else text(entry) for entry in line) + " |" for line in lines]


def text(value: str) -> str:
    """Text that Markdown shows as it is: no HTML, no link, no table border, no line break."""
    escaped = re.sub(r"([\\`*_\[\]|~#!])", r"\\\1", words.one_line(value))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def code(value: str, language: str = "") -> list[str]:
    """A fenced block whose fence is longer than any inside."""
    value = words.clean(value).strip()
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", value)), default=0))
    return [fence + language, value, fence]
