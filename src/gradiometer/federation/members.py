"""Members: the participants of a federation, each with examples of its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gradiometer.core import BadConfig, Batch, Unsupported, derive

from .split import dirichlet_split, even_split


@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """One participant.

    Args:
        train: what it trains on.
        test: its own held-out examples, to see whom the global model serves badly; None where none are kept.
    """

    name: str
    train: Batch
    test: Batch | None = None


def deal(batch: Batch, clients: int, *, alpha: float | None, holdout: float = 0.0, seed: int = 0) -> tuple[Member, ...]:
    """Members that share out one data set.

    Args:
        alpha: of the Dirichlet split of the labels `y`; None deals evenly.
        holdout: the share of each member's examples that it keeps for testing, in [0, 1).

    Raises:
        BadConfig: there are too few examples.
        Unsupported: a Dirichlet split of examples without integer labels.
    """
    if alpha is None:
        split = even_split(batch.size, clients, rng=derive(seed, "split"))
    else:
        if "y" not in batch or batch["y"].is_floating_point():
            raise Unsupported("a Dirichlet split needs integer labels `y`", fix="deal evenly")
        split = dirichlet_split(batch["y"], clients, alpha=alpha, rng=derive(seed, "split"))
    return tuple(hold_out(f"client {i}", batch.take(own), holdout, seed) for i, own in enumerate(split))


def hold_out(name: str, batch: Batch, share: float, seed: int) -> Member:
    """A member that keeps this share of its examples, at least one, for testing; none if the share is 0.

    Raises:
        BadConfig: nothing is left to train on.
    """
    if not 0 <= share < 1:
        raise BadConfig(f"the share of held-out examples must lie in [0, 1), got {share}")
    if not share:
        return Member(name=name, train=batch)
    kept = max(1, round(share * batch.size))
    if kept >= batch.size:
        raise BadConfig(f"{name} has {batch.size} examples, too few to hold out {share:g} of them", fix="hold out none")
    order = torch.randperm(batch.size, generator=derive(seed, "holdout", name))
    return Member(name=name, train=batch.take(order[kept:]), test=batch.take(order[:kept]))
