"""Defend: any `Defense` on what a Flower client sends."""

from __future__ import annotations

import json

import torch
from flwr.app import ConfigRecord, Context, Message
from torch import nn

from gradiometer.core import Defense, Memory

from ..exchange import Exchange
from ..outgoing import Protection
from ..packing import pack, unpack
from .arrays import as_record, as_tensors
from .mod import Mod

PLACE, TENSORS = "gradiometer.defend", "gradiometer.defend.tensors"


class Defend(Mod):
    """Defends the weight delta of every training round: what leaves is `received + defense(trained - received)`.

    Buffers of normalization and metrics pass as they are. What the defense remembers between rounds is kept in the
    client's own state, which never leaves it.

    Args:
        defense: of updates. One that changes the model or the data must be applied in the app, where these are made.
        model: the architecture that is trained; anything else that a server sends is refused.
        seed: None draws the defense's randomness from the system, as it must be; a number repeats a test.
        summed: the messages are added up with equal weights before the server sees any (`Mask(most=None)`, `SecureGrid`).

    Raises:
        Unsupported: a defense that a mod cannot apply.
    """

    def __init__(self, defense: Defense, model: nn.Module, *, seed: int | None = None, summed: bool = False) -> None:
        super().__init__(model)
        self.protection = Protection(defense=defense, model=model, seed=seed, summed=summed)

    def outgoing(self, exchange: Exchange, reply: Message, context: Context) -> Message:
        memory = _remembered(context)
        (key,) = reply.content.array_records
        reply.content[key] = as_record(self.protection.apply(exchange, memory))
        _remember(memory, context)
        return reply


def _remembered(context: Context) -> Memory:
    """Every task of Flower is a new process: memory lives in the node's state."""
    if PLACE not in context.state:
        return {}
    told = json.loads(str(context.state[PLACE]["memory"]))
    found: Memory = unpack(told, as_tensors(context.state.array_records[TENSORS]))
    return found


def _remember(memory: Memory, context: Context) -> None:
    kept: list[torch.Tensor] = []
    told = pack(memory, kept)
    if memory:
        context.state[PLACE] = ConfigRecord({"memory": json.dumps(told)})
        context.state[TENSORS] = as_record({str(i): tensor for i, tensor in enumerate(kept)})
