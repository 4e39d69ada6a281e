"""Circulant graphs in random order: everybody is joined to the `degree / 2` nearest on either side of a shuffled circle.

If every vertex that is left keeps more than `degree / 2` neighbors that are left, then it keeps one on either side, so
each is joined to the next one left on the circle, and those that are left hang together.

References:
    Bell, Bonawitz, Gascon, Lepoint, Raykova, "Secure Single-Server Aggregation with (Poly)Logarithmic Overhead", CCS
    2020, ePrint 2020/704 (Harary graphs in random order).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def neighborhoods(members: Sequence[int], degree: int, seed: bytes) -> dict[int, frozenset[int]]:
    """The neighbors of every member, the same for all who know the seed.

    Args:
        members: distinct; degree: even, or at least `len(members) - 1`, which joins everybody to everybody.
    """
    if degree >= len(members) - 1:
        everybody = frozenset(members)
        return {member: everybody - {member} for member in members}
    # Sorting by a hash is a shuffle that all machines agree on.
    circle = sorted(members, key=lambda member: hashlib.sha256(seed + member.to_bytes(8, "big")).digest())
    count, reach = len(circle), range(1, degree // 2 + 1)
    return {
        member: frozenset(circle[(place + step) % count] for near in reach for step in (near, -near))
        for place, member in enumerate(circle)
    }


def most_colluding_neighbors(members: int, colluders: int, degree: int, failure: float = 2.0**-40) -> int:
    """How many of one member's neighbors collude at most, for all members at once, except with probability `failure`.

    The neighbors in a random order are drawn without replacement: the count is hypergeometric, and the bound a union
    bound over all members. Everybody's neighbors are everybody: then all colluders are among them.
    """
    from scipy.stats import hypergeom

    if degree >= members - 1 or not colluders:
        return colluders
    law = hypergeom(members - 1, min(colluders, members - 1), degree)
    return next(count for count in range(degree + 1) if count == colluders or members * law.sf(count) <= failure)
