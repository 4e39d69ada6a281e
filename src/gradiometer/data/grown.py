"""Made-up molecules, grown atom by atom within the valences: they may be shown to anybody, and need no chemistry package."""

from __future__ import annotations

import torch

from gradiometer.core import Data, DataCard, derive

from .graphs import Graph, from_graphs, one_hot

grown_card = DataCard(name="grown", source="graphs made up for gradiometer", license="Apache-2.0", public=True)

ELEMENTS, VALENCES = ("C", "N", "O", "S", "F"), (4, 3, 2, 2, 1)
SHARES = (0.7, 0.1, 0.12, 0.04, 0.04)
BLOCKS = (len(VALENCES), 5, 5)
"""Element, degree, hydrogens."""
DOUBLE, RING = 0.2, 0.6
TRIES = 10
"""Molecules grown for each that is wanted, until enough are different."""
Kind = tuple[tuple[int, ...], tuple[int, ...]]


def grown(
    most: int = 12, *, count: int = 300, public_share: float = 0.5, test_share: float = 0.2, seed: int = 0
) -> Data:
    """Made-up molecules of 3 to `most` heavy atoms, no two alike; those with nitrogen are class 1.

    Every atom has as many bonds and hydrogens as its valence says; some have a ring of five or six.

    Args:
        most: heavy atoms that a molecule has at most, 3 or more.
        count: how many molecules; fewer where there are not so many of this size.
        public_share, test_share, seed: as in `from_arrays`.
    """
    rng, kinds, found = derive(seed, "grown"), dict[Kind, int](), dict[tuple[int, ...], Graph]()
    for _ in range(TRIES * count):
        if len(found) < count:
            one = _molecule(most, rng)
            found.setdefault(_alike(one, kinds), one)
    return from_graphs(
        list(found.values()),
        BLOCKS,
        degree=1,
        most=most,
        symbols=ELEMENTS,
        names=("without nitrogen", "with nitrogen"),
        card=grown_card,
        public_share=public_share,
        test_share=test_share,
        seed=seed,
    )


def _alike(graph: Graph, kinds: dict[Kind, int]) -> tuple[int, ...]:
    """Equal for molecules whose atoms look alike as far as three bonds.

    Args:
        kinds: the numbers of all surroundings met so far; new ones join.
    """
    atoms = [kinds.setdefault(((), tuple(row.nonzero().flatten().tolist())), len(kinds)) for row in graph.nodes]
    near: list[list[int]] = [[] for _ in atoms]
    for i, j in graph.edges:
        near[i].append(j)
        near[j].append(i)
    for _ in range(3):
        around = [((atom,), tuple(sorted(atoms[j] for j in mine))) for atom, mine in zip(atoms, near)]
        atoms = [kinds.setdefault(one, len(kinds)) for one in around]
    return tuple(sorted(atoms))


def _molecule(most: int, rng: torch.Generator) -> Graph:
    def draw(high: int) -> int:
        return int(torch.randint(high, (), generator=rng))

    def chance(share: float) -> bool:
        return bool(torch.rand((), generator=rng) < share)

    size = 3 + draw(most - 2)
    ring = 5 + draw(2) if size >= 6 and chance(RING) else 0
    elements = [0] * (ring or 1)
    bonds = [(i, i + 1) for i in range(ring - 1)] + ([(0, ring - 1)] if ring else [])
    spare = [2] * ring or [4]
    while len(elements) < size:
        places = [i for i, free in enumerate(spare) if free]
        if not places:
            break
        place, element = places[draw(len(places))], int(torch.multinomial(torch.tensor(SHARES), 1, generator=rng))
        order = 2 if min(spare[place], VALENCES[element]) >= 2 and chance(DOUBLE) else 1
        bonds.append((place, len(elements)))
        elements.append(element)
        spare[place] -= order
        spare.append(VALENCES[element] - order)
    degrees = torch.bincount(torch.tensor(bonds).flatten(), minlength=len(elements)).tolist()
    return Graph(nodes=one_hot(list(zip(elements, degrees, spare)), BLOCKS), edges=bonds, label=int(1 in elements))
