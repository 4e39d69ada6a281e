"""Messages for people: what happened, where, and the fix; never a traceback for what they can mend themselves."""

from __future__ import annotations

import errno
import sys
import tempfile
import traceback
from pathlib import Path

FULL = "free some space and run the same command again: what was finished is kept"
FIXES = {errno.ENOSPC: FULL, errno.EDQUOT: FULL, errno.EFBIG: FULL}


def say(text: str) -> None:
    """A line to stderr; stdout is for results only."""
    print(text, file=sys.stderr)


def told(error: Exception) -> str | None:
    """The message for an error that the user can mend; None for any other.

    error: what happened
      at   where
      fix  what to do
    """
    if isinstance(error, OSError) and error.errno is not None:
        fix = FIXES.get(error.errno, "check the path and its permissions")
        return _harmless(f"error: {f'{error.filename}: ' if error.filename else ''}{error.strerror}\n  fix  {fix}")
    from gradiometer.core.errors import BadConfig, GradiometerError

    if not isinstance(error, GradiometerError):
        return None
    lines = [f"error: {error.message}"]
    if error.where:
        lines.append(f"  at   {error.where}")
    for problem in error.problems if isinstance(error, BadConfig) else ():
        first, *rest = problem.splitlines() or [""]
        lines.append(f"  at   {first}" if rest else f"  -    {first}")
        lines += [f"       {line.strip()}" for line in rest]
    if error.fix:
        lines.append(f"  fix  {error.fix}")
    return _harmless("\n".join(lines))


def internal(error: Exception, *, verbose: bool) -> str:
    """One line, and where the traceback lies; with `-v` the traceback itself."""
    trace = "".join(traceback.format_exception(error))
    if verbose:
        return trace.rstrip()
    what = f"internal error: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="gradiometer-", suffix=".log", delete=False) as file:
            file.write(trace)
    except OSError:
        return f"{_harmless(what)}\n  fix  run again with -v for the whole story, and report it"
    return f"{_harmless(what)}\n  at   {Path(file.name)}\n  fix  report it with that file"


def _harmless(text: str) -> str:
    from gradiometer.report.words import clean

    return clean(text)
