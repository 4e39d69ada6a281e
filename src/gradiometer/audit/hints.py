"""Type hints of settings: where a part is asked for, and which classes may stand there."""

from __future__ import annotations

import inspect
import pkgutil
import typing
from dataclasses import is_dataclass
from importlib import import_module
from typing import Any


def part_classes(hint: Any) -> tuple[type, ...]:
    """The classes of parts (dataclasses, protocols, abstract classes) that a hint asks for; none for plain values."""
    ours = [
        c for c in flat(hint) if c.__module__.partition(".")[0] not in ("builtins", "torch", "collections", "typing")
    ]
    return tuple(c for c in ours if is_dataclass(c) or inspect.isabstract(c) or getattr(c, "_is_protocol", False))


def siblings(parts: tuple[type, ...]) -> dict[str, Any]:
    """The dataclasses that may stand where one of `parts` is asked for: of the same package, with all their members."""
    found: dict[str, Any] = {}
    for part in parts:
        package = import_module(part.__module__.rpartition(".")[0])
        members = {name for name in {*vars(part), *inspect.get_annotations(part)} if not name.startswith("_")}
        for info in pkgutil.iter_modules(package.__path__):
            module = import_module(f"{package.__name__}.{info.name}")
            for name, cls in vars(module).items():
                ours = inspect.isclass(cls) and cls.__module__ == module.__name__ and not name.startswith("_")
                if ours and is_dataclass(cls) and not inspect.isabstract(cls) and members <= set(dir(cls)):
                    found[name] = cls
    return found


def choices(hint: Any) -> list[Any]:
    """The values that a hint names: `Literal["gray", "zeros"] | Attack` gives gray and zeros."""
    inner = typing.get_args(hint)
    return list(inner) if typing.get_origin(hint) is typing.Literal else [c for arg in inner for c in choices(arg)]


def flat(hint: Any) -> list[type]:
    """Every class in a type hint: `tuple[Prior, ...] | None` gives tuple, Prior and NoneType."""
    inner = (
        [c for arg in typing.get_args(hint) if arg is not Ellipsis for c in flat(arg)]
        if typing.get_origin(hint) is not typing.Literal
        else []
    )
    own = typing.get_origin(hint) or hint
    return ([own] if inspect.isclass(own) else []) + inner
