"""Spelling: attacks, defenses, models and data as plain settings, and back. A plan file holds nothing else.

`{"name": "Prune", "keep": 0.1}` is `Prune(keep=0.1)`; parts of a whole are spelled the same way inside it. On a
command line the same is `Prune:keep=0.1`. `mylab.attacks:Mine` works wherever a name does.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from gradiometer.core import BadConfig, did_you_mean

from .hints import choices, flat, part_classes, siblings
from .naming import ROOMS, Fault, Path, catalogue, resolve, shown, spec_name


def spell(obj: Any) -> dict[str, Any]:
    """The settings of a dataclass, its parts included; fields that are None, or make no other thing, are left out.

    >>> from gradiometer.attacks.image import LinearBias
    >>> spell(LinearBias())
    {'name': 'LinearBias', 'rows': 'combined'}
    """
    cls = type(obj)
    inside = cls.__module__.partition(".")[0] == "gradiometer"
    name = cls.__name__ if inside else f"{cls.__module__}:{cls.__qualname__}"
    settings = {field.name: getattr(obj, field.name) for field in fields(obj) if field.compare}
    return {"name": name} | {name: _plain(value) for name, value in settings.items() if value is not None}


def build(spec: Any, kind: str) -> Any:
    """The object that `spec` spells.

    Args:
        spec: a mapping with "name", or `Name`, `Name:key=value,...`, `package.module:Class[:key=value,...]`.
        kind: `attack` or `defense`.

    Raises:
        BadConfig: with every fault found.
    """
    faults: list[Fault] = []
    made = construct(spec, kind, faults)
    if faults:
        problems = [f"{'.'.join(map(str, f.path))}: {f.text}" if f.path else f.text for f in faults]
        raise BadConfig(f"{shown(spec)} spells no {kind}", problems=problems)
    return made


def construct(spec: Any, kind: str, faults: list[Fault], path: Path = ()) -> Any:
    """Like `build`, for callers that collect the faults of many specs; None where there were any."""
    known = catalogue(kind)
    target, settings = resolve(spec, known, kind, faults, path)
    if target is None:
        return None
    base = ROOMS[kind][0]
    fits = inspect.isclass(target) and issubclass(target, base) and is_dataclass(target)
    if not fits or inspect.isabstract(target):
        faults.append(
            Fault(
                (*path, "name"),
                f"{spec_name(spec)!r} is no {kind}: it must be a dataclass derived from {base.__name__}",
            )
        )
        return None
    return call(target, settings, faults, path)


def resolve_call(
    spec: Any, kind: str, faults: list[Fault], path: Path, given: Iterable[str] = ()
) -> dict[str, Any] | None:
    """Checks a model's or data set's name and settings without calling it; every default is written out.

    Args:
        given: arguments that the audit itself supplies.
    """
    target, settings = resolve(spec, catalogue(kind), kind, faults, path)
    if target is None:
        return None
    checked = arguments(target, settings, faults, path, given)
    return {"name": spec_name(spec), **{k: _plain(v) for k, v in checked.items() if v is not None}}


def build_call(spec: Any, kind: str, given: Mapping[str, Any] | None = None) -> Any:
    """The model or data set that `spec` spells: its function called with its settings.

    Args:
        given: arguments that the audit supplies; those that the function does not take are left out.

    Raises:
        BadConfig: with every fault found.
    """
    faults: list[Fault] = []
    target, settings = resolve(spec, catalogue(kind), kind, faults, ())
    if target is not None:
        takes = inspect.signature(target).parameters
        supplied = {k: v for k, v in (given or {}).items() if k in takes}
        checked = arguments(target, settings, faults, (), supplied)
        if not faults:
            return target(**checked, **supplied)
    raise BadConfig(f"{shown(spec)} spells no {kind}", problems=[fault.text for fault in faults])


def call(target: Callable[..., Any], settings: Mapping[str, Any], faults: list[Fault], path: Path) -> Any:
    """`target(**settings)` with every value checked first; None where there were faults."""
    before = len(faults)
    checked = arguments(target, settings, faults, path)
    if len(faults) > before:
        return None
    try:
        return target(**checked)
    except BadConfig as error:
        faults.extend(Fault(path, text) for text in error.problems or (error.message,))
    except (ValueError, TypeError) as error:
        faults.append(Fault(path, str(error)))
    return None


def arguments(
    target: Callable[..., Any], settings: Mapping[str, Any], faults: list[Fault], path: Path, given: Iterable[str] = ()
) -> dict[str, Any]:
    """The checked arguments, defaults included; unknown names and wrong types become faults."""
    unsaid = {f.name for f in fields(target) if not f.compare} if is_dataclass(target) else set()
    parameters = {n: p for n, p in inspect.signature(target).parameters.items() if n not in unsaid | set(given)}
    try:
        hints = typing.get_type_hints(target)  # of a class: of all its bases, each in its own module
    except NameError:  # a hint that only a type checker can see: the value is then the class's own to check
        hints = {}
    result: dict[str, Any] = {}
    for name in settings:
        if name not in parameters:
            hint = did_you_mean(name, parameters) or f"; it takes {', '.join(parameters) or 'no settings'}"
            faults.append(Fault((*path, name), f'no setting "{name}"{hint}'))
    for name, parameter in parameters.items():
        if name in settings:
            result[name] = _checked(settings[name], hints.get(name, Any), faults, (*path, name))
        elif parameter.default is not inspect.Parameter.empty:
            result[name] = parameter.default
        elif parameter.kind not in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL):
            faults.append(Fault(path, f'the setting "{name}" is missing'))
    return result


def _checked(value: Any, hint: Any, faults: list[Fault], path: Path) -> Any:
    parts = part_classes(hint)
    if parts and isinstance(value, str) and value in choices(hint):
        return value
    if parts and isinstance(value, Mapping | str) and not (isinstance(value, str) and str in flat(hint)):
        if tuple in flat(hint):
            faults.append(Fault(path, f"write a list, got {shown(value)}"))
            return None
        return _part(value, parts, faults, path)
    if parts and isinstance(value, list | tuple):
        return tuple(_member(item, parts, faults, (*path, i)) for i, item in enumerate(value))
    from pydantic import ConfigDict, TypeAdapter, ValidationError
    from pydantic.errors import PydanticUserError

    try:
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
        return adapter.validate_python(_tuples(value) if tuple in flat(hint) else value, strict=True)
    except PydanticUserError:
        return value
    except (ValidationError, RecursionError) as error:
        errors = error.errors(include_url=False, include_input=False) if isinstance(error, ValidationError) else []
        text = errors[0]["msg"] if errors else "too deeply nested"
        faults.append(Fault(path, f"{text[:1].lower()}{text[1:]}, got {shown(value)}"))
        return None


def _member(value: Any, parts: tuple[type, ...], faults: list[Fault], path: Path) -> Any:
    if isinstance(value, Mapping | str):
        return _part(value, parts, faults, path)
    if not is_dataclass(value):  # a part that was given as an object stays as it is
        faults.append(Fault(path, f'write name = "...", got {shown(value)}'))
    return value


def _part(value: Mapping[str, Any] | str, parts: tuple[type, ...], faults: list[Fault], path: Path) -> Any:
    for kind, (base, _) in ROOMS.items():
        if any(issubclass(part, base) for part in parts):
            return construct(value, kind, faults, path)
    target, settings = resolve(value, siblings(parts), "part", faults, path)
    return None if target is None else call(target, settings, faults, path)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return spell(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value
