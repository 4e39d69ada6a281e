"""Names: what a plan can call by name, and which object a spelled name means."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from gradiometer.core import Attack, BadConfig, Defense, did_you_mean
from gradiometer.core.dotted import is_dotted, load_dotted

from .written import parse

Path = tuple[str | int, ...]

ROOMS: dict[str, tuple[type, tuple[str, ...]]] = {
    "attack": (
        Attack,
        (
            "gradiometer.attacks",
            "gradiometer.attacks.image",
            "gradiometer.attacks.text",
            "gradiometer.attacks.graph",
            "gradiometer.attacks.inference",
            "gradiometer.attacks.generative",
            "gradiometer.attacks.learned",
        ),
    ),
    "defense": (Defense, ("gradiometer.defenses",)),
}


@dataclass(frozen=True)
class Fault:
    """One thing wrong with the settings, and where in them: `("attack", 0, "iterations")`."""

    path: Path
    text: str


def catalogue(kind: str) -> dict[str, Callable[..., Any]]:
    """Everything that a plan can name: kind is `attack`, `defense`, `model` or `data`."""
    if kind in ("model", "data"):
        room = import_module(f"gradiometer.{kind}s" if kind == "model" else "gradiometer.data")
        return {
            name: entry[0] for name, entry in getattr(room, kind.upper() + ("S" if kind == "model" else ""), {}).items()
        }
    base, rooms = ROOMS[kind]
    found: dict[str, Callable[..., Any]] = {}
    for room in map(import_module, rooms):
        for name in getattr(room, "__all__", ()):
            thing = getattr(room, name)
            if inspect.isclass(thing) and issubclass(thing, base) and not inspect.isabstract(thing):
                found[name] = thing
    return found


def spec_name(spec: Any) -> Any:
    """The name in a spec, whatever its form."""
    if isinstance(spec, str):
        return parse(spec)["name"]
    return spec.get("name") if isinstance(spec, Mapping) else spec


def resolve(
    spec: Any, known: Mapping[str, Any], kind: str, faults: list[Fault], path: Path
) -> tuple[Callable[..., Any] | None, dict[str, Any]]:
    """What `spec` names among `known` or by its dotted path, and its settings; None where there were faults."""
    if isinstance(spec, str):
        try:
            spec = parse(spec)
        except BadConfig as error:
            faults.append(Fault(path, error.message))
            return None, {}
    name = spec_name(spec)
    if not isinstance(spec, Mapping) or not isinstance(name, str):
        faults.append(Fault((*path, "name"), f'a {kind} is spelled name = "...", got {shown(spec)}'))
        return None, {}
    settings = {key: value for key, value in spec.items() if key != "name"}
    if name in known:
        return known[name], settings
    if is_dotted(name):
        first, _, rest = name.partition(":")
        if first in known:
            faults.append(Fault((*path, "name"), f"{rest!r} is no key=value; write {first}:key=value,key=value"))
            return None, {}
        try:
            return load_dotted(name), settings
        except BadConfig as error:
            faults.append(Fault((*path, "name"), error.message))
            return None, {}
    hint = did_you_mean(name, known) or f"; known are {', '.join(sorted(known)) or 'none'}"
    faults.append(Fault((*path, "name"), f'no {kind} "{name}"{hint}'))
    return None, {}


def shown(value: Any) -> str:
    """A value as messages show it: short."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
