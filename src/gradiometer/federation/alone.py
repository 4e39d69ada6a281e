"""alone: what members would reach without a federation, the least that one must be worth."""

from __future__ import annotations

from dataclasses import replace

from gradiometer.core import Defense

from .federation import Federation
from .members import Member
from .rounds import Round, advance, begin


def alone(federation: Federation, member: Member, rounds: int) -> Round:
    """Trains one member by itself and undefended: the same model, recipe, server step and number of rounds.

    Returns:
        The last round, with its accuracy on the examples that the federation is tested on.

    Raises:
        BadInput: training diverged.
    """
    own = replace(federation, members=(member,), defense=Defense(), aggregation=None, dropout=0.0)
    state = begin(own)
    for number in range(rounds):
        state = advance(own, state, measured=number == rounds - 1)
    return state.rounds[-1]
