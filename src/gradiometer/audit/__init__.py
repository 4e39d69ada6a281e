"""Audits: a plan becomes trials, trials become a verdict. `gradiometer.audit(...)` calls `audit` below.

Reports need only `audit.schema`; everything else loads when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import audit, run_folder, scan
    from .naming import catalogue
    from .plan import Plan, load_plan, make_plan, parse_plan
    from .quick import demo_plan, scan_plan
    from .run import Progress, preview, run_audit
    from .schema import Result
    from .spelling import build, spell
    from .template import init_files

_HOMES = {
    "Plan": "plan",
    "Progress": "run",
    "Result": "schema",
    "audit": "api",
    "build": "spelling",
    "catalogue": "spelling",
    "demo_plan": "quick",
    "init_files": "template",
    "load_plan": "plan",
    "make_plan": "plan",
    "parse_plan": "plan",
    "preview": "run",
    "run_audit": "run",
    "run_folder": "api",
    "scan": "api",
    "scan_plan": "quick",
    "spell": "spelling",
}

__all__ = [
    "Plan",
    "Progress",
    "Result",
    "audit",
    "build",
    "catalogue",
    "demo_plan",
    "init_files",
    "load_plan",
    "make_plan",
    "parse_plan",
    "preview",
    "run_audit",
    "run_folder",
    "scan",
    "scan_plan",
    "spell",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Room(ModuleType):
    """The module itself can be called, so that the shortest thing to write does the main thing."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return __getattr__("audit")(*args, **kwargs)


sys.modules[__name__].__class__ = _Room
