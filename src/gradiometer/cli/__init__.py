"""The command line. Every command is one library call; this package parses arguments and prints.

Exit codes: 0 nothing at or above `--fail-on`; 1 a finding; 2 a usage or configuration error; 3 inconclusive;
4 an error of gradiometer itself; 130 interrupted, with everything finished kept.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .messages import internal, say, told
from .parser import build_parser

__all__ = ["main"]

USAGE, INTERNAL, INTERRUPTED = 2, 4, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code. A user's mistake never shows a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a mark still gets the words
    verbose = False
    try:
        arguments = build_parser().parse_args(argv)
        verbose = getattr(arguments, "verbose", False)
        from . import commands

        return commands.run(arguments)
    except SystemExit as stop:  # argparse's way to end after --help, --version and usage errors
        return stop.code if isinstance(stop.code, int) else USAGE
    except KeyboardInterrupt:
        say("interrupted: what was finished is kept, and the same command continues")
        return INTERRUPTED
    except Exception as error:  # the last frame: a user sees a message, whatever went wrong
        message = told(error)
        if message is not None:
            say(message)
            return USAGE
        say(internal(error, verbose=verbose))
        return INTERNAL
