"""Errors whose class says what to do next, and whose message says what happened, where, and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GradiometerError(Exception):
    """Root of every error that a user can mend. `fix` is one imperative sentence."""

    def __init__(self, message: str, *, where: str = "", fix: str = "") -> None:
        self.message, self.where, self.fix = message, where, fix
        super().__init__(message)

    def __str__(self) -> str:
        lines = [self.message]
        if self.where:
            lines.append(f"  at   {self.where}")
        if self.fix:
            lines.append(f"  fix  {self.fix}")
        return "\n".join(lines)


class MissingKnowledge(GradiometerError):
    """An attack asked for something that the threat does not grant: grant it, or choose another attack."""


class NotApplicable(GradiometerError):
    """The model or update lacks what the attack or defense needs: choose another one."""


class Unsupported(GradiometerError):
    """What was asked for is legal but not built: choose another setting."""


class BadConfig(GradiometerError):
    """The user's settings are wrong. `problems` lists every fault found, not only the first."""

    def __init__(self, message: str, *, where: str = "", fix: str = "", problems: Iterable[str] = ()) -> None:
        super().__init__(message, where=where, fix=fix)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *(f"  - {problem}" for problem in self.problems)])


class BadInput(GradiometerError):
    """A file or value from outside is damaged or does not fit: the message names it."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean "..."?` for the closest known name, or an empty string.

    >>> did_you_mean("Quantise", ["Quantize", "Clip"])
    '; did you mean "Quantize"?'
    """
    folded = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.5)
    return f'; did you mean "{folded[close[0]]}"?' if close else ""
