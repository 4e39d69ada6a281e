"""play_sum: one round of several clients, of whose messages the observer sees the sum alone (secure aggregation)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from .attack import Values
from .batch import Batch
from .client import Client
from .defense import Defense
from .errors import BadInput, Unsupported
from .play import play
from .rng import spawn
from .threat import Threat
from .update import Update


@runtime_checkable
class Aggregation(Protocol):
    """How the messages of a round become the one thing that the server sees."""

    def sum(self, messages: Sequence[Values], *, rng: torch.Generator, round: int) -> tuple[dict[str, Tensor], int]:
        """The sum of the messages, one a client, and the bytes that all clients sent."""
        ...


def play_sum(
    client: Client,
    batches: Sequence[Batch],
    *,
    rng: torch.Generator,
    threat: Threat = Threat(),  # noqa: B008 - a frozen value
    defense: Defense | None = None,
    aggregation: Aggregation | None = None,
    public: Batch | None = None,
    round: int = 0,
) -> Update:
    """Plays the round of as many equal clients as there are batches: each trains, defends and sends on its own.

    The update's values are the sum of all messages as the defense's trusted aggregator, if it has one, releases it; its
    `batch_size` and `labels` are those of all clients together.
    Normalization buffers are not in the sum.

    Args:
        aggregation: what adds the messages up, `SecureAggregation` for one; None adds them as they are.

    Raises:
        BadInput: no batch, one that does not fit the client, or an update that is not finite.
        Unsupported: a defense with which every client trains another part of the model.
    """
    if not batches:
        raise BadInput("a sum over clients needs at least one client's batch")
    defense = defense or Defense()
    if defense.cuts():
        raise Unsupported("clients that train different parts of the model have no plain sum", fix="attack one client")
    everything = replace(threat, labels=True)
    seen = [
        play(client, batch, rng=spawn(rng), threat=everything, defense=defense, public=public, round=round)
        for batch in batches
    ]
    if aggregation is None:
        total = {name: torch.stack([u.values[name] for u in seen]).sum(0) for name in seen[0].values}
        sent = sum(update.wire_bytes for update in seen)
    else:
        total, sent = aggregation.sum([update.values for update in seen], rng=spawn(rng), round=round)
    size = sum(batch.size for batch in batches)
    labels = [batch["y"] for batch in batches if "y" in batch]
    return (
        seen[0]
        .replace(
            values=defense.on_sum(total, clients=len(seen), rng=spawn(rng)),
            recipe=replace(client.recipe, examples=size),
            batch_size=size,
            labels=torch.cat(labels) if labels else None,
            buffers=None,
            clients=len(seen),
            wire_bytes=sent,
        )
        .under(threat)
    )
