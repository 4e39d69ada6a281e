"""Writes the catalogue pages from the cards while the documentation is built, so that they cannot drift from the code."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from gradiometer.audit import init_files
from gradiometer.cli.parser import build_parser
from gradiometer.core import Card, DataCard

SECTIONS = {
    "attacks": "Attacks read an update.",
    "defenses": "Defenses change what leaves the client.",
    "aggregations": "Aggregations show the server less than every client's message.",
    "models": "Built-in victims.",
    "data": "Data sets, built-in and your own.",
}


def entries(section: str) -> Iterator[tuple[str, Any, Card]]:
    """Name, object and card of everything that a room exports."""
    room: ModuleType = import_module(f"gradiometer.{'federation' if section == 'aggregations' else section}")
    table = getattr(room, section.upper(), None)
    if isinstance(table, dict):
        for name, (thing, card) in table.items():
            yield name, thing, data_card(thing, card) if isinstance(card, DataCard) else card
        return
    for name in room.__all__:
        thing = getattr(room, name)
        card = getattr(thing, "card", None)
        if inspect.isclass(thing) and isinstance(card, Card):
            yield name, thing, card


def data_card(thing: Any, card: DataCard) -> Card:
    """A data set's card in the terms of the others."""
    summary = (inspect.getdoc(thing) or card.name).splitlines()[0]
    licensed = f"license: {card.license}" if card.license else ""
    return Card(
        summary=summary,
        title=card.source,
        authors=licensed,
        family="public" if card.public else "your own: reports blur it",
    )


def settings(thing: Any) -> list[str]:
    """A table of the settings with their defaults."""
    rows: list[tuple[str, str]] = []
    if dataclasses.is_dataclass(thing):
        for field in dataclasses.fields(thing):
            default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
            rows.append((field.name, "required" if default is dataclasses.MISSING else repr(default)))
    else:
        for name, parameter in inspect.signature(thing).parameters.items():
            rows.append((name, "required" if parameter.default is inspect.Parameter.empty else repr(parameter.default)))
    if not rows:
        return []
    return [
        "## Settings",
        "",
        "| setting | default |",
        "|---|---|",
        *(f"| `{name}` | `{value}` |" for name, value in rows),
        "",
    ]


def page(section: str, name: str, thing: Any, card: Card) -> str:
    """One catalogue page in Markdown."""
    lines = [f"# {name}", "", card.summary, ""]
    facts = {
        "Source": card.source,
        "Family": card.family,
        "Modality": card.modality,
        "Needs": ", ".join(f"`{need}`" for need in card.needs),
        "Strength": card.strength,
    }
    lines += ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in facts.items() if value), ""]
    if card.formula:
        lines += ["## Formula", "", f"`{card.formula}`", ""]
    if card.departs:
        lines += ["## Departs from the paper", "", card.departs, ""]
    lines += settings(thing)
    usage = {
        "attacks": f"gradiometer scan --attack {name}",
        "defenses": f"gradiometer scan --defense {name}",
        "aggregations": f"play_sum(client, batches, rng=rng, aggregation={name}())",
        "models": f'[[client]]\nname = "mine"\nmodel = {{ name = "{name}" }}',
        "data": f'[[client]]\nname = "mine"\ndata = {{ name = "{name}" }}',
    }[section]
    language = {"attacks": "sh", "defenses": "sh", "aggregations": "python"}.get(section, "toml")
    lines += ["## Use", "", f"```{language}", usage, "```", ""]
    if inspect.getdoc(thing):
        lines += ["## Reference", "", f"::: {thing.__module__}.{thing.__qualname__}", ""]
    return "\n".join(lines)


def on_pre_build(config: MkDocsConfig) -> None:
    """Gives the snippets extension the texts that the code owns."""
    place = Path(config.config_file_path).parent / "build" / "snippets"
    place.mkdir(parents=True, exist_ok=True)
    for name, text in init_files().items():
        (place / name).write_text(text)
    (place / "cli.txt").write_text(command_line_help())


def command_line_help() -> str:
    """`--help` of the program and of every command."""
    parser = build_parser()
    parts = [parser.format_help()]
    for action in parser._subparsers._group_actions if parser._subparsers else []:
        parts += [command.format_help() for command in action.choices.values()]  # type: ignore[union-attr]
    return "\n\n".join(parts)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """MkDocs calls this after it has collected the written pages; the generated ones join them."""
    for section, sentence in SECTIONS.items():
        found = list(entries(section))
        table = [f"# {section.capitalize()}", "", sentence, "", "| name | what it does | source |", "|---|---|---|"]
        table += [f"| [{name}]({name}.md) | {card.summary} | {card.source} |" for name, _, card in found]
        pages = {"index": "\n".join(table), **{name: page(section, name, thing, card) for name, thing, card in found}}
        for name, text in pages.items():
            files.append(File.generated(config, f"catalogue/{section}/{name}.md", content=text))
    return files
