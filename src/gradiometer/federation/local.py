"""One client's part of a round: local training behind a defense. `core.play` plays the same round for an attacker to see."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from gradiometer.core import Batch, Client, Defense, Memory, SubModel, Update, clone_model, derive, spawn

from .checking import check_alike


@dataclass(frozen=True, kw_only=True, eq=False)
class Contribution:
    """What a client sends, and what it took.

    Args:
        values, buffers: what goes into the sum; buffers are those of normalization, which the defense does not touch.
        seen: what the server reads of the values, where they are encrypted.
        part: of the model that the client trained; None: all of it. Values and buffers are in its shapes.
        batch: the examples behind it, as the client chose them. They stay at home.
        wire_bytes: of the values as the defense encodes them, and of the buffers.
        defense_seconds: CPU time inside the defense.
    """

    values: Mapping[str, Tensor]
    seen: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    part: SubModel | None
    batch: Batch
    wire_bytes: int
    defense_seconds: float


def contribute(
    client: Client, batch: Batch, defense: Defense, memory: Memory, *, seed: int, round: int, member: int
) -> Contribution:
    """Trains `client` on a batch and defends what came out.

    Training and defense draw from generators of their own, so that a runtime that keeps the two apart (Flower's mods)
    sends the very same values.

    Args:
        memory: of this client's defense; written to.
        seed, round, member: derive the randomness.

    Raises:
        BadInput: an update that is not finite, or a defense that returns something else than it was given.
    """
    started = time.process_time()
    part = defense.on_download(client.model, rng=derive(seed, round, member, "download"))
    if part is not None:
        client = replace(client, model=clone_model(part.model))
    prepared = defense.on_batch(batch, rng=derive(seed, round, member, "batch"))
    spent = time.process_time() - started
    step = partial(defense.on_step, memory=memory)
    sent = client.train(prepared, rng=derive(seed, round, member, "train"), step=step)
    started = time.process_time()
    rng = derive(seed, round, member, "defense")
    values, seen = _defended(sent.values, defense, memory, rng=rng)
    spent += time.process_time() - started
    return Contribution(
        values=values,
        seen=seen,
        buffers=sent.buffers,
        part=part,
        batch=batch,
        wire_bytes=defense.wire_bytes(values) + sum(b.numel() * b.element_size() for b in sent.buffers.values()),
        defense_seconds=spent,
    )


def defended(
    values: Mapping[str, Tensor], defense: Defense, memory: Memory, *, rng: torch.Generator
) -> dict[str, Tensor]:
    """What the server sees of raw values behind the defense.

    Raises:
        BadInput: it returns other names or shapes, or values that are not finite.
    """
    return _defended(values, defense, memory, rng=rng)[1]


def _defended(
    values: Mapping[str, Tensor], defense: Defense, memory: Memory, *, rng: torch.Generator
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What goes into the sum, and what the server sees of it."""
    sent = defense.on_gradients(values, rng=spawn(rng), memory=memory)
    seen = defense.on_wire(sent, rng=spawn(rng), memory=memory)
    for made in (sent, seen):
        check_alike(made, values, f"what {type(defense).__name__} returned")
    return sent, seen


def draw(batch: Batch, count: int | None, *, seed: int, round: int, member: int) -> Batch:
    """The examples that a member trains on in a round: so many of its own, in a random order; None: all, as they lie."""
    if count is None:
        return batch
    order = torch.randperm(batch.size, generator=derive(seed, round, member, "draw"))
    return batch.take(order[:count])


def as_update(client: Client, model: nn.Module, sent: Contribution, *, round: int, clients: int = 1) -> Update:
    """What the server of a federation sees of a contribution: values, buffers, and what it knows anyway."""
    recipe = replace(client.recipe, examples=sent.batch.size, shares_buffers=bool(sent.buffers))
    seen, buffers, part = sent.seen, sent.buffers, sent.part
    if part is not None and part.secret:
        seen, buffers = part.spread(seen, model), part.spread(buffers, model)
    elif part is not None:
        model = part.model
    return Update(
        values=seen,
        layout=client.layout,
        sends=recipe.sends,
        model=model,
        loss=client.loss,
        recipe=recipe,
        batch_size=sent.batch.size,
        buffers=dict(buffers) or None,
        clients=clients,
        round=round,
        wire_bytes=sent.wire_bytes,
    )
