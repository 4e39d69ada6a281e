"""Defend: any `Defense` on what a Flower client sends."""

from __future__ import annotations

import json
import secrets

import torch
from flwr.app import ConfigRecord, Context, Message
from torch import nn

from gradiometer.core import Defense, Memory, Unsupported, derive
from gradiometer.defenses import Chain

from ..local import defended
from ..packing import pack, unpack
from .arrays import as_record, as_tensors
from .exchange import Exchange
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

    Raises:
        Unsupported: a defense that a mod cannot apply.
    """

    def __init__(self, defense: Defense, model: nn.Module, *, seed: int | None = None) -> None:
        super().__init__(model)
        for one in _members(defense):
            for hook, call in (
                ("on_model", "defense.on_model(model)"),
                ("on_batch", "defense.on_batch(batch, rng=...)"),
            ):
                if getattr(type(one), hook) is not getattr(Defense, hook):
                    raise Unsupported(
                        f"{type(one).__name__} works on the {hook.removeprefix('on_')}, which a mod cannot change",
                        fix=f"call {call} in the app, and pass this mod the rest of the defense",
                    )
        if defense.aggregates():
            raise Unsupported(
                "this defense has a part in the sum over equal clients, which a client's mod cannot see to",
                fix='take ClientDP(where="local"), or train in process',
            )
        self.defense, self.seed = defense, seed

    def outgoing(self, exchange: Exchange, reply: Message, context: Context) -> Message:
        memory = _remembered(context)
        values = defended(exchange.delta(self.model), self.defense, memory, rng=self._rng(exchange))
        moved = {name: exchange.received[name] + value for name, value in values.items()}
        reply.content[exchange.key] = as_record(exchange.sent | moved)
        _remember(memory, context)
        return reply

    def _rng(self, exchange: Exchange) -> torch.Generator:
        if self.seed is None:
            return torch.Generator().manual_seed(secrets.randbits(63))
        return derive(self.seed, exchange.round, exchange.member, "defense")


def _members(defense: Defense) -> list[Defense]:
    if not isinstance(defense, Chain):
        return [defense]
    return [one for member in defense.members for one in _members(member)]


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
