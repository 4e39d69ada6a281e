"""SelfAudit: an NVFlare client attacks what it is about to send, and keeps the figures to itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from pathlib import Path

from nvflare.apis.dxo import DXO
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from torch import nn

from gradiometer.core import Attack, Client, Data, Defense, Threat

from ..exchange import Exchange
from ..outgoing import SelfAttack
from .filter import ModelFilter
from .placing import named


class SelfAudit(ModelFilter):
    """Attacks the client's own update in every chosen round, logs the leak, and appends it to `FOLDER/leaks.jsonl`.

    Last of the filters, it attacks what really leaves. Nothing of it is put into the reply. An attack that fails does
    not hold the update back: it protects nothing, it looks.

    Args:
        client: model, layout, loss and recipe of the local training. This and all that follows may be given as
            `module:name`, where it is no number.
        attacks: tried one after the other.
        data: `data(site, round)` gives the client's own `Data`; `private` are the examples that it trained on.
        folder: where `leaks.jsonl` is kept; None: only the log.
        budget: seconds a round.
        rounds: which ones, from 0; None: all.
        threat: what the server is assumed to know; None: `Threat()`.
        defense: that the client uses, so that attacks are adapted to it.
    """

    def __init__(
        self,
        client: Client | str,
        attacks: Sequence[Attack] | str,
        data: Callable[[str, int], Data] | str,
        folder: str | Path | None = None,
        budget: float = 20.0,
        rounds: Collection[int] | None = None,
        threat: Threat | str | None = None,
        defense: Defense | str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.client, self.attacks, self.data = client, attacks, data
        self.folder = None if folder is None else str(folder)
        self.budget, self.rounds, self.threat, self.defense, self.seed = budget, rounds, threat, defense, seed

    @cached_property
    def attack(self) -> SelfAttack:
        return SelfAttack(
            client=named(self.client, Client, "the client"),
            attacks=tuple(named(self.attacks, Sequence, "attacks")),
            data=named(self.data, Callable, "data"),
            folder=None if self.folder is None else Path(self.folder),
            budget=self.budget,
            rounds=self.rounds,
            threat=Threat() if self.threat is None else named(self.threat, Threat, "the threat"),
            defense=None if self.defense is None else named(self.defense, Defense, "the defense"),
            seed=self.seed,
        )

    @property
    def architecture(self) -> nn.Module:
        return self.attack.client.model

    def outgoing(self, exchange: Exchange, dxo: DXO, shareable: Shareable, fl_ctx: FLContext) -> DXO:
        self.attack.look(exchange, self.logger)
        return dxo
