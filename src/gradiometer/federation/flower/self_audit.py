"""SelfAudit: a Flower client attacks what it is about to send, and keeps the figures to itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from flwr.app import Context, Message

from gradiometer.core import Attack, Client, Data, Defense, Threat

from ..exchange import Exchange
from ..outgoing import SelfAttack
from .mod import LOG, Mod


class SelfAudit(Mod):
    """Attacks the client's own update in every chosen round, logs the leak, and appends it to `FOLDER/leaks.jsonl`.

    First in the list of mods, it attacks what really leaves. Nothing of it is told to the server. An attack that fails
    does not hold the update back: it protects nothing, it looks.

    Args:
        client: model, layout, loss and recipe of the local training.
        attacks: tried one after the other.
        data: `data(member, round)` gives the client's own `Data`; `private` are the examples that it trained on.
        folder: where `leaks.jsonl` is kept; None: only the log.
        budget: seconds a round.
        rounds: which ones, from 0; None: all.
        threat: what the server is assumed to know.
        defense: that the client uses, so that attacks are adapted to it.
    """

    def __init__(
        self,
        client: Client,
        attacks: Sequence[Attack],
        data: Callable[[int, int], Data],
        *,
        folder: str | Path | None = None,
        budget: float = 20.0,
        rounds: Collection[int] | None = None,
        threat: Threat = Threat(),  # noqa: B008 - a frozen value
        defense: Defense | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(client.model)
        self.attack = SelfAttack(
            client=client,
            attacks=tuple(attacks),
            data=data,
            folder=None if folder is None else Path(folder),
            budget=budget,
            rounds=rounds,
            threat=threat,
            defense=defense,
            seed=seed,
        )

    def outgoing(self, exchange: Exchange, reply: Message, context: Context) -> Message:
        self.attack.look(exchange, LOG)
        return reply

    def elsewhere(self, reply: Message) -> Message:
        return reply
