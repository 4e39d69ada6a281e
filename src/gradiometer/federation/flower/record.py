"""Record: a Flower client keeps what it is about to send, for an audit."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from flwr.app import Context, Message

from gradiometer.core import Client

from ..exchange import Exchange
from ..outgoing import Recorder
from .mod import LOG, Mod


class Record(Mod):
    """Saves the update of every training round as `FOLDER/round-0003-member-001.safetensors`, for `gradiometer scan`.

    First in the list of mods, it sees what the others made of the update. The file holds the update and the global
    model, no examples; an update that cannot be recorded is not sent.

    Args:
        client: model, layout, loss and recipe of the local training.
        folder: made if it is not there.
        rounds: which ones, from 0; None: all.
    """

    def __init__(self, client: Client, folder: str | Path, *, rounds: Collection[int] | None = None) -> None:
        super().__init__(client.model)
        self.recorder = Recorder(client=client, folder=Path(folder), rounds=rounds)

    def outgoing(self, exchange: Exchange, reply: Message, context: Context) -> Message:
        self.recorder.keep(exchange, LOG)
        return reply

    def elsewhere(self, reply: Message) -> Message:
        return reply
