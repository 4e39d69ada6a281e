"""Placing: how NVFlare is told of a filter, in a job or in a site's own settings, which both are JSON."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from nvflare.app_common.app_constant import AppConstants
from nvflare.job_config.defs import FilterType

from gradiometer.core import BadConfig, Defense
from gradiometer.core.dotted import load_dotted

TASKS = (AppConstants.TASK_TRAIN, AppConstants.TASK_VALIDATION, AppConstants.TASK_SUBMIT_MODEL)
"""The tasks in which NVFlare's own workflows move models."""


def named(value: Any, kind: Any, what: str) -> Any:
    """The thing itself, or what `package.module:name` names on this machine.

    Args:
        kind: class that it must be of.
        what: it is, for errors.

    Raises:
        BadConfig: there is no such thing, or it is something else.
    """
    found = load_dotted(value) if isinstance(value, str) else value
    if not isinstance(found, kind):
        raise BadConfig(f"{what} is a {type(found).__name__}, and not a {kind.__name__}")
    return found


def place(part: Any, job: Any, ctx: Any, *, filter_type: str | None, tasks: Sequence[str] | None) -> None:
    """Adds a filter to a job: to the results, and to the task data, from which it learns what was sent.

    Args:
        filter_type: NVFlare's; only `TASK_DATA` leaves the results alone.
        tasks: by their full names; None: all in which models move.

    Raises:
        BadConfig: the filter cannot be written into a job, or a task is a pattern.
    """
    for name in inspect.signature(type(part).__init__).parameters:
        if name != "self" and not _portable(getattr(part, name)):
            raise BadConfig(
                f"{type(part).__name__}({name}=...) cannot be written into a job, which is JSON",
                fix=f'let each site make it: {name}="module:name"',
            )
    chosen = list(tasks or TASKS)
    if any("*" in task for task in chosen):
        raise BadConfig(
            'NVFlare looks tasks of filters up by their full names: a filter for "*" would never run',
            fix=f"name them: tasks={list(TASKS)}",
        )
    # Else the job would carry copies of some of gradiometer's files, which hide the rest.
    job.set_app_packages(sorted({*job.job.app_packages, "gradiometer"}))
    types = [FilterType.TASK_DATA, FilterType.TASK_RESULT]
    for kind in types[:1] if filter_type == FilterType.TASK_DATA else types:
        job.add_filter(obj=part, filter_type=kind, tasks=chosen, ctx=ctx)


def _portable(value: Any) -> bool:
    """Whether a job can hold it: what JSON can, and defenses made of such."""
    if isinstance(value, Defense):
        return all(_portable(getattr(value, field.name)) for field in fields(value))
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True
