"""Why a graph was not read, and how much may be tried."""

from __future__ import annotations

from enum import StrEnum

from gradiometer.core import NotApplicable


class Cause(StrEnum):
    """What ended the attack."""

    NO_SPAN = (
        "a map's gradient is zero, as no node reached it, or has no span that ends: it was rounded off or is noise"
    )
    FULL_SPAN = "as many independent nodes as the layer is wide, or noise: the span denies nothing"
    TOO_MANY_NODES = "too many combinations of features lie in the first span"
    TOO_MANY_NEIGHBORHOODS = "too many neighborhoods to try"
    MISSING_NEIGHBORHOODS = "true neighborhoods lie outside the second span: A + I is singular, or derivatives coincide"
    UNEXPLAINED = "the neighborhoods found do not add up to the readout's gradient"
    NO_NUMBER = "no number of nodes makes all counts whole"
    NO_GRAPH = "no graph within the budget has these neighborhoods"
    UNVERIFIED = "the graph that comes nearest does not cause the gradient that was sent"


class Unread(NotApplicable):
    """A refusal with its cause."""

    def __init__(self, cause: Cause, message: str, *, fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.cause = cause


class Budget:
    """How many neighborhoods may still be tried: a count, so that the same seed gives the same guess on every machine."""

    def __init__(self, most: int) -> None:
        self.left = most

    def spend(self, tries: int) -> None:
        """Takes some off.

        Raises:
            Unread: so many are not left; nothing is taken off then.
        """
        if tries > self.left:
            raise Unread(
                Cause.TOO_MANY_NEIGHBORHOODS,
                f"{tries} neighborhoods would have to be tried, and only {self.left} may be",
                fix="raise `most`, if time does not matter",
            )
        self.left -= tries
