"""`gradiometer list`: the catalogue as the cards tell it."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict
from importlib import import_module
from typing import Any


def entries(kind: str) -> list[dict[str, Any]]:
    """Name and card of everything of this kind, in the order in which its package lists it."""
    module = import_module(f"gradiometer.{kind}")
    if kind in ("attacks", "defenses"):
        from gradiometer.audit import catalogue

        cards = {name: thing.card for name, thing in catalogue(kind[:-1]).items()}  # type: ignore[attr-defined]
    elif kind == "guards":
        exported = getattr(module, "__all__", ())
        cards = {name: thing.card for name in exported if hasattr(thing := getattr(module, name), "card")}
    else:
        cards = {name: card for name, (_, card) in getattr(module, kind.upper()).items()}
    return [{"name": name, **_told(card)} for name, card in cards.items()]


def write(kind: str, format: str) -> str:
    """The list as `json` or as `terminal` text."""
    listed = entries(kind)
    if format == "json":
        return json.dumps(listed, indent=2, ensure_ascii=False) + "\n"
    if not listed:
        return f"No {kind} are built in yet.\n"
    return _table(listed)


def _told(card: Any) -> dict[str, Any]:
    fields = {key: value for key, value in asdict(card).items() if value not in ("", None, ()) and key != "name"}
    return fields | ({"reference": card.source} if getattr(card, "title", "") else {})


def _table(listed: list[dict[str, Any]]) -> str:
    from io import StringIO

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    stream = StringIO()
    width = shutil.get_terminal_size((100, 24)).columns
    color = sys.stdout.isatty()
    console = Console(file=stream, width=max(60, width), force_terminal=color, highlight=False)
    table = Table(box=None, padding=(0, 2, 1, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for entry in listed:
        summary = Text(str(entry.get("summary") or entry.get("source") or ""))
        told = [str(entry[key]) for key in ("family", "modality", "unit", "license") if entry.get(key)]
        if entry.get("needs"):
            told.append(f"needs {', '.join(entry['needs'])}")
        told += [str(entry["reference"])] if entry.get("reference") else []
        table.add_row(
            Text(entry["name"], style="bold"), summary.append(f"\n{'; '.join(told)}" if told else "", style="dim")
        )
    console.print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().rstrip().splitlines()) + "\n"
