"""play: one federated round, from a private batch to what the observer sees of it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

from .attack import Attack
from .batch import Batch
from .client import Client, clone_model
from .defense import Defense, Memory
from .errors import BadInput
from .rng import spawn
from .threat import Threat
from .update import Update


def play(
    client: Client,
    batch: Batch,
    *,
    rng: torch.Generator,
    threat: Threat = Threat(),  # noqa: B008 - a frozen value
    defense: Defense | None = None,
    attack: Attack | None = None,
    public: Batch | None = None,
    memory: Memory | None = None,
    round: int = 0,
) -> Update:
    """Plays one round: server model, local training, defense, message; and returns the observer's view.

    Args:
        attack: an active attack tampers with the model first, if the threat lets the server do so.
        public: data that the observer owns, if the threat grants it.
        memory: what the client's defense keeps between rounds; a fresh one when None.

    Raises:
        BadInput: the batch does not fit the client, or an update that is not finite.
    """
    defense = defense or Defense()
    memory = {} if memory is None else memory
    model = clone_model(client.model)
    if attack is not None and threat.tamper:
        model = attack.tamper(model)
    model = defense.on_model(model)
    ways = [spawn(rng) for _ in range(4)]
    part = defense.on_download(model, rng=spawn(rng)) if defense.cuts() else None
    # The client works on a copy: models that remember their last input must not hand it to the observer.
    trained = replace(client, model=clone_model(model if part is None else part.model))
    private = defense.on_batch(batch, rng=ways[0])
    sent = trained.train(private, rng=ways[1], step=partial(defense.on_step, memory=memory))
    values = defense.on_gradients(sent.values, rng=ways[2], memory=memory)
    values = defense.on_wire(values, rng=ways[3], memory=memory)
    size, buffers = defense.wire_bytes(values), sent.buffers
    if part is not None and part.secret:
        values, buffers = part.spread(values, model), part.spread(buffers, model)
    elif part is not None:
        model = part.model
    if not all(torch.isfinite(value).all() for value in values.values()):
        raise BadInput("the defense made values that are not finite", fix="check the defense's settings")
    return Update(
        values=values,
        layout=client.layout,
        sends=client.recipe.sends,
        model=model,
        loss=client.loss,
        recipe=replace(client.recipe, examples=batch.size),
        batch_size=batch.size,
        labels=batch.get("y"),
        buffers=buffers if client.recipe.shares_buffers else None,
        public=public,
        clients=threat.clients,
        round=round,
        wire_bytes=size,
    ).under(threat)
