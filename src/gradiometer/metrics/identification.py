"""Identification: does a guess single out the true example among others? The figure that people mean by "recognized"."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from gradiometer.core import Batch, Data

from .card import MetricCard
from .image import mse, pixels

Example = TypeVar("Example")

identification_card = MetricCard(
    summary="Place of the true example when N candidates are ordered by their distance to the guess; 1 identifies it.",
    leak="lower",
    unit="rank",
    low=1.0,
    high=float("inf"),
)


def identification_rank(guess: Tensor, truth: Tensor, others: Tensor) -> int:
    """1 + the number of other candidates at least as near to the guess (by squared error) as the truth is.

    Ties count against the guess: a gray picture among gray ones identifies nothing.

    Args:
        guess, truth: one picture each, [channels, height, width] in [0,1].
        others: [candidates - 1, channels, height, width].
    """
    own = mse(guess[None], truth[None])
    return 1 + int((mse(others, guess[None]) <= own).sum())


def draw_others(truth: Tensor, data: Data, *, candidates: int, rng: torch.Generator) -> Tensor:
    """`candidates - 1` private and public pictures (in [0,1]) that differ from the truth, or all there are.

    Args:
        truth: one picture, [channels, height, width] in [0,1]. Copies of it are left out: they are the same example.
    """
    field = data.layout["x"]
    pools = [batch["x"] for batch in (data.private, data.public) if batch is not None]
    ends = torch.tensor([len(pool) for pool in pools]).cumsum(0)
    order = torch.randperm(int(ends[-1]), generator=rng)
    found: list[Tensor] = []
    missing = candidates - 1
    for part in order.split(max(missing + 8, 64)):
        inside = [
            pool[part[(part >= end - len(pool)) & (part < end)] - (end - len(pool))] for pool, end in zip(pools, ends)
        ]
        pictures = pixels(torch.cat(inside), field)
        found.append(pictures[mse(pictures, truth[None]) > 0][:missing])
        missing -= len(found[-1])
        if missing <= 0:
            break
    return torch.cat(found)


def drawn_others(
    truth: Example,
    data: Data,
    read: Callable[[Batch], list[Example]],
    same: Callable[[Example, Example], bool],
    count: int,
    rng: torch.Generator,
) -> list[Example]:
    """As many private and public sentences or graphs that differ from the truth, in an order drawn by `rng`, or all there are.

    Args:
        read: the examples of a batch. same: whether two are one example.
    """
    pools = [batch for batch in (data.private, data.public) if batch is not None]
    ends = torch.tensor([batch.size for batch in pools]).cumsum(0)
    found: list[Example] = []
    for part in torch.randperm(int(ends[-1]), generator=rng).split(max(64, count)):
        for pool, end in zip(pools, ends.tolist()):
            inside = part[(part >= end - pool.size) & (part < end)] - (end - pool.size)
            found += [one for one in read(pool.take(inside)) if not same(one, truth)] if len(inside) else []
        if len(found) >= count:
            break
    return found[:count]
