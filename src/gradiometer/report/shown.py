"""Examples that a report shows, in its order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from gradiometer.audit.schema_shown import Drawing, Quote

from .words import KINDS, is_undefended

Shown = TypeVar("Shown", Quote, Drawing)


def by_client_and_kind(shown: Sequence[Shown]) -> list[tuple[str, list[tuple[str, list[Shown]]]]]:
    """Clients as they come, each with its best, median and worst example; of each what came back undefended first."""
    found = []
    for client in dict.fromkeys(one.client for one in shown):
        mine = sorted((one for one in shown if one.client == client), key=lambda one: not is_undefended(one.defense))
        of_kind = [(kind, [one for one in mine if one.kind == kind]) for kind in KINDS]
        found.append((client, [(kind, some) for kind, some in of_kind if some]))
    return found
