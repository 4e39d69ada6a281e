"""Why a graph was not read."""

from __future__ import annotations

from enum import StrEnum

from gradiometer.core import NotApplicable


class Cause(StrEnum):
    """What ended the attack."""

    FULL_SPAN = "as many independent nodes as the layer is wide, or noise: the span denies nothing"
    TOO_MANY_NODES = "too many combinations of features lie in the first span"
    TOO_MANY_NEIGHBORHOODS = "too many neighborhoods to try"
    MISSING_NEIGHBORHOODS = "true neighborhoods lie outside the second span: A + I is singular, or derivatives coincide"
    UNEXPLAINED = "the neighborhoods found do not add up to the readout's gradient"
    NO_NUMBER = "no number of nodes makes all counts whole"
    NO_GRAPH = "no graph within the budget has these neighborhoods"


class Unread(NotApplicable):
    """A refusal with its cause."""

    def __init__(self, cause: Cause, message: str, *, fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.cause = cause
