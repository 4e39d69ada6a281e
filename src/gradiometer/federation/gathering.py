"""How a server comes by the mean of a round: message by message, or under masks that leave it the sum alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradiometer.core import BadInput, SubModel, Values, concatenate, derive

from .averaging import Averaging
from .local import Contribution


@dataclass(frozen=True, kw_only=True, eq=False)
class Mean:
    """What the server has of a round.

    Args:
        values, buffers: means over clients, each weighing as its examples, or all alike.
        clients: how many are in it.
        uplink_bytes: sent by all. seconds: CPU time of the masking, of all clients and the server.
        clipped: greatest share of one message's entries that were cut to the agreed range.
    """

    values: dict[str, Tensor]
    buffers: dict[str, Tensor]
    clients: int
    uplink_bytes: int
    seconds: float = 0.0
    clipped: float = 0.0


class Plain:
    """A sum weighted by numbers of examples, one contribution at a time, so that no two must be held.

    Args:
        alike: every client weighs the same, as what is proven of a sum needs it.
        whole: the model of which clients may have trained parts.
    """

    def __init__(self, *, alike: bool, whole: nn.Module) -> None:
        self._alike, self._whole = alike, whole
        self._weight = self._clients = self._bytes = 0
        self._values: dict[str, Tensor] = {}
        self._buffers: dict[str, Tensor] = {}
        self._missing: dict[str, Tensor] = {}

    def add(self, member: int, sent: Contribution) -> None:
        count, first = 1 if self._alike else sent.batch.size, not self._weight
        self._weight, self._clients = self._weight + count, self._clients + 1
        self._bytes += sent.wire_bytes
        for held, new in ((self._values, sent.values), (self._buffers, sent.buffers)):
            for name, value in self._spread(new, sent.part, count).items():
                if first:
                    held[name] = value * count if value.is_floating_point() else value.clone()
                elif value.is_floating_point():
                    held[name].add_(value, alpha=count)  # counters, which are integers, stay those of the first

    def mean(self) -> Mean:
        """Raises `BadInput` where nobody sent anything."""
        if not self._weight:
            raise BadInput("no client sent anything")
        values, buffers = (
            {k: v / self._weights(k) if v.is_floating_point() else v for k, v in held.items()}
            for held in (self._values, self._buffers)
        )
        for name in buffers.keys() & self._missing.keys():
            nobody = self._missing[name] >= self._weight
            buffers[name] = torch.where(nobody, self._whole.get_buffer(name), buffers[name])
        return Mean(values=values, buffers=buffers, clients=self._clients, uplink_bytes=self._bytes)

    def _spread(self, new: Values, part: SubModel | None, count: int) -> Values:
        """The values at their places in the whole model; keeps account of the weight that every coordinate misses."""
        if part is None:
            return new
        there = part.spread({name: torch.ones_like(value) for name, value in new.items()}, self._whole)
        for name, one in there.items():
            self._missing[name] = self._missing.get(name, 0) + count * (1 - one)
        return part.spread(new, self._whole)

    def _weights(self, name: str) -> Tensor | int:
        """Of the clients that had the coordinates of a tensor; where nobody had one, its sum of zero is divided by 1."""
        return (self._weight - self._missing[name]).clamp_min(1) if name in self._missing else self._weight


class Masked:
    """A round of secure aggregation. Buffers travel in the same masked vector, as moves from those that were sent.

    Counters, which are integers, stay the server's own.

    Args:
        invited: how many members; those that add nothing have dropped out after they shared their secrets.
        most: examples of the largest member, known to all; None: every client weighs the same.
        before: the buffers that the server sent.
        seed, round: derive the rounding.
    """

    def __init__(
        self, aggregation: Averaging, *, invited: int, most: int | None, before: Values, seed: int, round: int
    ) -> None:
        self._aggregation, self._invited, self._most, self._round = aggregation, invited, most, round
        self._before = {name: value for name, value in before.items() if value.is_floating_point()}
        self._rng = derive(seed, "masked", round)
        self._messages: dict[int, dict[str, Tensor]] = {}
        self._counts: dict[int, int] = {}

    def add(self, member: int, sent: Contribution) -> None:
        moves = {name: sent.buffers[name] - value for name, value in self._before.items() if name in sent.buffers}
        self._messages[member] = {**sent.values, **moves}
        self._counts[member] = sent.batch.size if self._most else 1

    def mean(self) -> Mean:
        """Raises `Refused` where too few are left to open the sum."""
        done = self._aggregation.mean(
            self._messages,
            self._counts,
            most=self._most or 1,
            rng=self._rng,
            round=self._round,
            gone={*range(self._invited)} - self._messages.keys(),
        )
        buffers = {name: value + done.mean[name] for name, value in self._before.items() if name in done.mean}
        return Mean(
            values={name: value for name, value in done.mean.items() if name not in buffers},
            buffers=buffers,
            clients=len(done.survivors),
            uplink_bytes=done.uplink,
            seconds=done.seconds,
            clipped=done.clipped,
        )


def summed(sent: list[Contribution], mean: Mean, values: Values) -> Contribution:
    """The one thing that the server was shown of several messages: their sum, all of their examples behind it."""
    return Contribution(
        values=values,
        seen=values,
        buffers=mean.buffers,
        part=None,
        batch=concatenate([one.batch for one in sent]),
        wire_bytes=mean.uplink_bytes,
        defense_seconds=sum(one.defense_seconds for one in sent),
    )
