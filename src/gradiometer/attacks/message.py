"""What a client would send: an attacker's own simulation of one message, defended as `play` defends it."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from gradiometer.core import Batch, Client, Defense, Memory, spawn


def message(client: Client, batch: Batch, defense: Defense, rng: torch.Generator) -> dict[str, Tensor]:
    """The values that this client sends of this batch, with an empty memory.

    Args:
        client: with the model of the update, which is what the defense made of it already.
    """
    memory: Memory = {}
    step = partial(defense.on_step, memory=memory)
    values = client.train(defense.on_batch(batch, rng=spawn(rng)), rng=spawn(rng), step=step).values
    values = defense.on_gradients(values, rng=spawn(rng), memory=memory)
    return defense.on_wire(values, rng=spawn(rng), memory=memory)
