"""Dealing examples to the two sides of the wall: what the attacker may know, and what it must not see."""

from __future__ import annotations

from typing import NamedTuple

from gradiometer.core import BadConfig, BadInput, Batch


class Sides(NamedTuple):
    """Private examples, public ones, and a test set; None where a side has none."""

    private: Batch
    public: Batch | None
    test: Batch | None


def refuse_unless_dealable(what: str, *, public_share: float, test_share: float, **sizes: int | None) -> None:
    """Refuses shares outside [0, 1) and sizes below 1; a size of None is no limit.

    Raises:
        BadConfig: naming all of them.
    """
    shares = {"public_share": public_share, "test_share": test_share}
    problems = [f"{name} must lie in [0, 1), got {share}" for name, share in shares.items() if not 0 <= share < 1]
    problems += [f"{name} must be at least 1, got {n}" for name, n in sizes.items() if n is not None and n < 1]
    if problems:
        raise BadConfig(f"the {what} cannot be dealt", problems=problems)


def dealt(known: Batch, *, public_share: float, test_share: float, what: str = "example") -> Sides:
    """The first examples are the test set, the next are public, the rest is private.

    Args:
        public_share: of what is left when the test set is taken out.

    Raises:
        BadInput: nothing is left for the private side.
    """
    held_out = round(test_share * known.size)
    wall = held_out + round(public_share * (known.size - held_out))
    private, public, test = (_between(known, *ends) for ends in ((wall, known.size), (held_out, wall), (0, held_out)))
    if private is None:
        raise BadInput(f"no {what} is left for the private side", fix="lower public_share or test_share, or add data")
    return Sides(private, public, test)


def _between(batch: Batch, first: int, last: int) -> Batch | None:
    return batch.take(slice(first, last)) if first < last else None
