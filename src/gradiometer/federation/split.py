"""Splitting a data set over clients as unevenly as real federations are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gradiometer.core import BadConfig


def dirichlet_split(
    labels: Tensor, clients: int, *, alpha: float, rng: torch.Generator, smallest: int = 10
) -> list[Tensor]:
    """Positions of each client's examples: class by class, shares p ~ Dirichlet(alpha, ..., alpha).

    Args:
        labels: [n] integers.
        alpha: > 0; 0.1 is severe, 0.5 usual, 100 nearly even.
        smallest: draws again while a client has fewer examples.

    Raises:
        BadConfig: in 200 draws no split gave every client enough.

    References:
        Hsu, Qi, Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
        Classification", 2019, arXiv:1909.06335.
    """
    # torch draws Dirichlet variables from its global generator only, hence numpy, seeded from `rng`.
    draws = np.random.default_rng(int(torch.randint(2**62, (), generator=rng)))
    smallest = min(smallest, len(labels) // (2 * clients))
    for _ in range(200):
        shares: list[list[Tensor]] = [[] for _ in range(clients)]
        for label in labels.unique():
            members = (labels == label).nonzero().flatten()
            members = members[torch.randperm(len(members), generator=rng)]
            cuts = np.cumsum(draws.dirichlet([alpha] * clients))[:-1] * len(members)
            for share, part in zip(shares, members.tensor_split([round(cut) for cut in cuts])):
                share.append(part)
        split = [torch.cat(share).sort().values for share in shares]
        if min(map(len, split)) >= max(1, smallest):
            return split
    raise BadConfig(
        f"no split of {len(labels)} examples with alpha = {alpha} gives each of {clients} clients {max(1, smallest)}",
        fix="raise alpha, or take fewer clients",
    )


def even_split(size: int, clients: int, *, rng: torch.Generator) -> list[Tensor]:
    """Positions of each client's examples: a random order, cut into parts that differ by one example at most.

    Raises:
        BadConfig: fewer examples than clients.
    """
    if size < clients:
        raise BadConfig(f"{size} examples cannot be dealt to {clients} clients", fix="take fewer clients")
    order = torch.randperm(size, generator=rng)
    return [part.sort().values for part in order.tensor_split(clients)]
