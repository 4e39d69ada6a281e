"""`package.module:name`: things of the user's own, found from the current directory."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from typing import Any

from .errors import BadConfig, did_you_mean


def is_dotted(name: str) -> bool:
    """Whether `name` is written `package.module:name`."""
    module, _, attribute = name.partition(":")
    return bool(attribute) and all(part.isidentifier() for part in [*module.split("."), *attribute.split(".")])


def load_dotted(path: str) -> Any:
    """Imports the module, from the current directory if need be, and takes the name out of it.

    Raises:
        BadConfig: the path is misspelled, the module is missing or fails to import, or it has no such name.
    """
    if not is_dotted(path):
        raise BadConfig(f"{path!r} is not of the form package.module:name", fix="write for example client:make")
    module_name, _, attribute = path.partition(":")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if module_name == missing or module_name.startswith(f"{missing}."):
            hint = did_you_mean(module_name, _modules_here(here))
            raise BadConfig(f"{path}: there is no module {missing!r} in {here} or on the Python path{hint}") from error
        raise BadConfig(
            f"{path}: importing {module_name} fails: it needs {missing!r}, which is not installed"
        ) from error
    except (Exception, SystemExit) as error:  # the user's own module may raise anything while it is imported
        raise BadConfig(f"{path}: importing {module_name} fails: {type(error).__name__}: {error}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            names = [n for n, v in vars(found).items() if not n.startswith("_") and not inspect.ismodule(v)]
            raise BadConfig(f"{path}: {module_name} has no {part!r}{did_you_mean(part, names)}")
        found = getattr(found, part)
    return found


def _modules_here(folder: str) -> list[str]:
    return [
        entry.name.removesuffix(".py") for entry in os.scandir(folder) if entry.name.endswith(".py") or entry.is_dir()
    ]
