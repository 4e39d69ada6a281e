"""Record: an NVFlare client keeps what it is about to send, for an audit."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from pathlib import Path

from nvflare.apis.dxo import DXO
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from torch import nn

from gradiometer.core import Client

from ..exchange import Exchange
from ..outgoing import Recorder
from .filter import ModelFilter
from .placing import named


class Record(ModelFilter):
    """Saves the update of every training round as `FOLDER/round-0003-site-1.safetensors`, for `gradiometer scan`.

    Last of the filters, it sees what the others made of the update. The file holds the update and the global model, no
    examples; an update that cannot be recorded is not sent.

    Args:
        client: model, layout, loss and recipe of the local training, or `module:name` of it. Where the reply's meta has
            no `num_examples`, the recipe says how many examples stand behind an update.
        folder: made if it is not there.
        rounds: which ones, from 0; None: all.
    """

    def __init__(self, client: Client | str, folder: str | Path, rounds: Collection[int] | None = None) -> None:
        super().__init__()
        self.client, self.folder, self.rounds = client, str(folder), rounds

    @cached_property
    def recorder(self) -> Recorder:
        client = named(self.client, Client, "the client")
        return Recorder(client=client, folder=Path(self.folder), rounds=self.rounds)

    @property
    def architecture(self) -> nn.Module:
        return self.recorder.client.model

    def outgoing(self, exchange: Exchange, dxo: DXO, shareable: Shareable, fl_ctx: FLContext) -> DXO:
        self.recorder.keep(exchange, self.logger)
        return dxo
