"""How objects are written on one line: the label that tells settings apart, and the command line's `Name:key=value`."""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from gradiometer.core import BadConfig
from gradiometer.defenses import Chain


def label(obj: Any) -> str:
    """A short name that tells settings apart: the class, and the fields that differ from its defaults; chains as sums.

    >>> from gradiometer.attacks.image import LinearBias
    >>> label(LinearBias(rows="largest"))
    'LinearBias(rows=largest)'
    """
    if isinstance(obj, Chain) and obj.members:
        return " + ".join(map(label, obj.members))
    told = [
        f"{f.name}={_short(getattr(obj, f.name))}"
        for f in fields(obj)
        if f.compare and not _same(getattr(obj, f.name), _default(f))
    ]
    return type(obj).__name__ + (f"({', '.join(told)})" if told else "")


def parse(text: str) -> dict[str, Any]:
    """`Name:key=value,...` as a mapping. Values are TOML; bare words are strings.

    >>> parse("Quantize:bits=4,mode=stochastic")
    {'name': 'Quantize', 'bits': 4, 'mode': 'stochastic'}
    """
    name, _, rest = text.partition(":")
    if rest and "=" not in rest.partition(":")[0]:  # a dotted path has a colon of its own
        inner, _, rest = rest.partition(":")
        name = f"{name}:{inner}"
    settings: dict[str, Any] = {}
    for item in _split(rest):
        key, equals, value = item.partition("=")
        if not equals:
            raise BadConfig(f"{text!r}: {item!r} is no key=value", fix="write Name:key=value,key=value")
        try:
            settings[key.strip()] = tomllib.loads(f"v = {value}")["v"]
        except (tomllib.TOMLDecodeError, RecursionError):
            settings[key.strip()] = value.strip()
    return {"name": name.strip(), **settings}


def _default(field: Any) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _same(value: Any, default: Any) -> bool:
    return value is default or bool(type(value) is type(default) and value == default)


def _short(value: Any) -> str:
    if is_dataclass(value) and not isinstance(value, type):
        return label(value)
    if isinstance(value, tuple | list):
        return "+".join(map(_short, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _split(text: str) -> list[str]:
    """Splits at commas outside brackets and quotes."""
    items, depth, quote, current = [], 0, "", ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "[{(":
            depth += 1
        elif letter in "]})":
            depth -= 1
        elif letter == "," and depth == 0:
            items.append(current)
            current = ""
            continue
        current += letter
    return [item.strip() for item in [*items, current] if item.strip()]
