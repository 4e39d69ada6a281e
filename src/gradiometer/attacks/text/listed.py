"""Which rows of an embedding's gradient stand out: the tokens that a batch holds, and how many places it fills."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from gradiometer.core import Values
from gradiometer.numerics.embedding_tables import Tables

SURE, APART = 6.0, 3.0
"""Deviations of a row's energy above that of noise, and how far all others must be below the least that is found."""


def tokens(values: Values, tables: Tables, levels: Mapping[str, float]) -> Tensor | None:
    """The tokens whose rows have a gradient, rising; None where that does not tell them: none was sent, tied, pruned, or drowned."""
    found = _standing(values, f"{tables.tokens}.weight", levels)
    return None if found is None or 2 * len(found) > len(values[f"{tables.tokens}.weight"]) else found


def places(values: Values, tables: Tables, levels: Mapping[str, float], most: int) -> int | None:
    """How many tokens the longest sequence has; None where no gradient tells it."""
    found = None if tables.places is None else _standing(values, f"{tables.places}.weight", levels)
    return None if found is None else min(most, int(found.max()) + 1)


def _standing(values: Values, name: str, levels: Mapping[str, float]) -> Tensor | None:
    gradient, level = values.get(name), levels.get(name, 0.0)
    if gradient is None:
        return None
    energy = gradient.double().square().sum(1)
    width = gradient.shape[1]
    limit = level**2 * (width + SURE * (2 * width) ** 0.5)
    found = (energy > limit).nonzero().flatten()
    if not len(found):
        return None
    # Rows that are zero in part were pruned, and then others may have been pruned whole.
    if not level and bool((gradient[found] == 0).any()):
        return None
    excess = energy - level**2 * width
    rest = max(0.0, float(excess[energy <= limit].amax())) if len(found) < len(energy) else 0.0
    return found if float(excess[found].min()) > APART * rest else None
