"""TOML: writing it, and finding the line on which a setting stands."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

Path = tuple[str | int, ...]

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]\[]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")


def lines_of(text: str) -> dict[Path, int]:
    """The line (from 1) of every table and key. Entries of inline tables and arrays stand on the line of their key."""
    found: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _numbered(_keys(header[2]), counts, new=header[1] == "[[")
            found[table] = number
        elif key := _KEY.match(line):
            found.setdefault((*table, *_keys(key[1])), number)
    return found


def locate(text: str, path: Path) -> tuple[int, str] | None:
    """The line of the longest known beginning of `path`, and what stands there, with the table that it stands in."""
    found = lines_of(text)
    for length in range(len(path), 0, -1):
        number = found.get(path[:length])
        if number is None:
            continue
        here = text.splitlines()[number - 1].strip()
        tables = [place for place in found if place != path[:length] and place == path[: len(place)]]
        above = text.splitlines()[found[max(tables, key=len)] - 1].strip() if tables else ""
        return number, f"{above} {here}".strip()
    return None


def _numbered(keys: list[str], counts: dict[Path, int], *, new: bool) -> Path:
    path: Path = ()
    for i, key in enumerate(keys):
        path = (*path, key)
        if new and i == len(keys) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def _keys(text: str) -> list[str]:
    return [part.strip().strip("\"'") for part in text.split(".")]


def dump(document: Mapping[str, Any]) -> str:
    """A TOML document: first the plain values, then the tables. None, which TOML cannot say, becomes a comment."""
    return "\n".join(_table(document, ())).strip() + "\n"


def _table(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    out: list[str] = []
    later: list[str] = []
    for key, value in table.items():
        inner = (*path, key)
        if value is None:
            out.append(f"# {_key(key)} is not set")
        elif isinstance(value, Mapping) and len(path) < 1:
            later += ["", f"[{'.'.join(map(_key, inner))}]", *_table(value, inner)]
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value) and len(path) < 1:
            for item in value:
                later += ["", f"[[{'.'.join(map(_key, inner))}]]", *_table(item, inner)]
        else:
            out.append(f"{_key(key)} = {_value(value)}")
    return out + later


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "inf", -math.inf: "-inf"}.get(value, "nan")
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items() if item is not None)
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    raise TypeError(f"TOML cannot hold {type(value).__name__}")


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)
