"""Recording: a Flower strategy that keeps what its server can see."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from torch import Tensor

from gradiometer.core import BadInput, Client, save_update

from ..exchange import check_client
from ..outgoing import file_name
from ..rounds import reason
from .arrays import exchange_of, model_of
from .mod import LOG


class Recording(Strategy):
    """Any strategy, with every reply recorded as the `Update` that the server sees.

    Replies that do not fit the model that was sent (other names or shapes, values that are not finite) are left out of
    the aggregation. `FOLDER/replies.jsonl` tells of every reply, refused ones with the reason.

    Args:
        inner: the strategy that does the work.
        client: model, layout, loss and recipe that the federation agreed on.
        rounds: whose updates are saved, from 0; None: all.
    """

    def __init__(
        self, inner: Strategy, client: Client, folder: str | Path, *, rounds: Collection[int] | None = None
    ) -> None:
        self.inner, self.client, self.folder, self.rounds = inner, check_client(client), Path(folder), rounds
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sent: dict[int, dict[str, Tensor]] = {}

    def summary(self) -> None:
        self.inner.summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        messages = list(self.inner.configure_train(server_round, arrays, config, grid))
        read: dict[int, dict[str, Tensor]] = {}  # most strategies send the very same content to all
        for message in messages:
            if id(message.content) not in read:
                read[id(message.content)] = model_of(message.content, self.client.model)
        self._sent = {message.metadata.dst_node_id: read[id(message.content)] for message in messages}
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        sound = [reply for reply in replies if self._sound(reply, server_round - 1)]
        return self.inner.aggregate_train(server_round, sound)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        return self.inner.configure_evaluate(server_round, arrays, config, grid)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        return self.inner.aggregate_evaluate(server_round, replies)

    def _sound(self, reply: Message, number: int) -> bool:
        """Whether a reply may be averaged; it is recorded, or the reason why not."""
        node = reply.metadata.src_node_id
        told: dict[str, Any] = {"round": number, "node": node}
        if reply.has_error():
            self._tell(told | {"refused": f"by the client: {reply.error.reason}"})
            return True  # the inner strategy counts failures itself
        try:
            if node not in self._sent:
                raise BadInput("no model was sent to this node")
            exchange = exchange_of(self._sent[node], reply.content, round=number, member=node)
            update = exchange.update(self.client)
        except Exception as error:  # a hostile reply may be anything; it is told and left out
            LOG.error("round %d: the reply of node %d is left out: %s", number, node, reason(error))
            self._tell(told | {"refused": f"by the server: {reason(error)}"})
            return False
        if self.rounds is None or number in self.rounds:
            save_update(update, self.folder / file_name(exchange))
        norm = sum(float(value.double().square().sum()) for value in update.values.values()) ** 0.5
        self._tell(told | {"examples": exchange.examples, "wire_bytes": exchange.wire_bytes, "norm": norm})
        return True

    def _tell(self, line: dict[str, Any]) -> None:
        tell(self.folder, line)


def tell(folder: Path, line: dict[str, Any]) -> None:
    """One more line of `replies.jsonl`."""
    with (folder / "replies.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
