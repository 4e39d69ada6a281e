"""SelfAudit: a Flower client attacks what it is about to send, and keeps the figures to itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from flwr.app import Context, Message

from gradiometer.core import Attack, Client, Data, Defense, GradiometerError, Threat, derive

from ..leak import Leak, leaks
from ..rounds import reason
from .exchange import Exchange, check_client
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
        super().__init__(check_client(client).model)
        self.client, self.attacks, self.data = client, tuple(attacks), data
        self.folder = None if folder is None else Path(folder)
        self.budget, self.rounds, self.threat, self.defense, self.seed = budget, rounds, threat, defense, seed

    def outgoing(self, exchange: Exchange, reply: Message, context: Context) -> Message:
        if self.rounds is None or exchange.round in self.rounds:
            try:
                for leak in self._leaks(exchange):
                    self._tell(leak, exchange)
            except (GradiometerError, RuntimeError, OSError) as error:
                LOG.warning("round %d: the self-audit failed: %s", exchange.round, reason(error))
        return reply

    def elsewhere(self, reply: Message) -> Message:
        return reply

    def _leaks(self, exchange: Exchange) -> list[Leak]:
        data = self.data(exchange.member, exchange.round)
        return leaks(
            exchange.update(self.client),
            data,
            self.attacks,
            rng=derive(self.seed, exchange.round, exchange.member, "self-audit"),
            threat=self.threat,
            defense=self.defense,
            budget=self.budget,
        )

    def _tell(self, leak: Leak, exchange: Exchange) -> None:
        told = {key: value for key, value in leak.told().items() if value not in (None, "")}
        LOG.info("leak of round %d: %s", leak.round, json.dumps(told))
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "leaks.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(leak.told() | {"member": exchange.member}) + "\n")
