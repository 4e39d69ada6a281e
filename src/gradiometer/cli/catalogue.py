"""`gradiometer list`: the catalogue as the cards tell it."""

from __future__ import annotations

import inspect
import json
import shutil
import sys
from dataclasses import asdict
from importlib import import_module
from typing import Any


def entries(kind: str) -> list[dict[str, Any]]:
    """Name and card of everything of this kind, in the order in which its package lists it."""
    module = import_module(f"gradiometer.{'federation' if kind == 'aggregations' else kind}")
    found: dict[str, tuple[Any, Any]]
    if kind in ("attacks", "defenses"):
        from gradiometer.audit import catalogue

        found = {name: (thing, vars(thing)["card"]) for name, thing in catalogue(kind[:-1]).items()}
    elif kind == "guards":
        exported = {name: getattr(module, name) for name in getattr(module, "__all__", ())}
        found = {name: (thing, thing.card) for name, thing in exported.items() if hasattr(thing, "card")}
    else:
        found = getattr(module, kind.upper())
    return [{"name": name, **_told(thing, card)} for name, (thing, card) in found.items()]


def write(kind: str, format: str) -> str:
    """The list as `json` or as `terminal` text."""
    listed = entries(kind)
    if format == "json":
        return json.dumps(listed, indent=2, ensure_ascii=False) + "\n"
    if not listed:
        return f"No {kind} are built in yet.\n"
    return _table(listed)


def _told(thing: Any, card: Any) -> dict[str, Any]:
    """The card's fields that say something; a data set's summary is the first line of its documentation."""
    fields = {key: value for key, value in asdict(card).items() if value not in ("", None, ()) and key != "name"}
    summary = {"summary": (inspect.getdoc(thing) or "").partition("\n")[0]}
    return summary | fields | ({"reference": card.source} if getattr(card, "title", "") else {})


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
        summary = Text(str(entry["summary"]))
        told = [str(entry[key]) for key in ("family", "modality", "unit", "source", "license") if entry.get(key)]
        if entry.get("needs"):
            told.append(f"needs {', '.join(entry['needs'])}")
        told += [str(entry["reference"])] if entry.get("reference") else []
        table.add_row(
            Text(entry["name"], style="bold"), summary.append(f"\n{'; '.join(told)}" if told else "", style="dim")
        )
    console.print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().rstrip().splitlines()) + "\n"
