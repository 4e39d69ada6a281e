"""What a plan names by `package.module:name`, hashed, so that a changed source is another plan."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gradiometer.core.dotted import is_dotted


def source_hash(settings: Any) -> str:
    """A hash of the files of all modules that settings name by `package.module:name`; empty where they name none."""
    found = hashlib.sha256()
    for module in sorted(set(_named(settings))):
        origin = getattr(sys.modules.get(module), "__file__", None)
        if origin is not None:
            found.update(module.encode() + Path(origin).read_bytes())
    return found.hexdigest()[:16] if any(_named(settings)) else ""


def _named(settings: Any) -> Iterator[str]:
    if isinstance(settings, str) and is_dotted(settings):
        yield settings.partition(":")[0]
    elif isinstance(settings, Mapping | list | tuple):
        for item in settings.values() if isinstance(settings, Mapping) else settings:
            yield from _named(item)
