"""SecureGrid: the server's side of secure aggregation in Flower. Whatever strategy runs on it sees one reply, the mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from flwr.app import Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from torch import Tensor

from gradiometer.core import BadConfig, BadInput, Client, Defense, derive, save_update, trainable

from ..exchange import Exchange, check_client
from ..outgoing import fresh
from ..rounds import reason
from ..secure.local import size
from ..secure.record import Record, Refused
from ..secure.server import SecureServer
from ..secure.weighing import weighted_mean
from ..secure_aggregation import SecureAggregation
from .arrays import as_record, model_of, round_of
from .masked import fingerprint, parts, read_request, request, unflatten
from .mod import LOG
from .recording import tell


class SecureGrid(Grid):
    """A grid on which every round of training is one of secure aggregation, with clients behind the mod `Mask`.

    Messages of training become five requests to each of their nodes. Out of the masked vectors comes the mean, weighted by
    examples, and the strategy is handed it as the only reply. Nodes that answer no more have dropped out; where too few are
    left to open the sum, the round is lost: the strategy gets no reply, and keeps its weights. All else passes as it is.

    Args:
        inner: Flower's own grid.
        client: model, layout, loss and recipe that the federation agreed on.
        most: as the clients' `Mask`.
        directory: public identities, to leave out adverts that every client would refuse; None does not check them.
        defense: whose `on_sum` the server applies where it has a part in the sum; the observer is then told that.
        folder: gets the sums as `round-0000-sum.safetensors`, and a line a round in `replies.jsonl`; None: nothing is kept.
        timeout: seconds that a stage may take; None: as long as the strategy waits for a round.
        seed: of `on_sum`; None draws from the system.
    """

    def __init__(
        self,
        inner: Grid,
        client: Client,
        aggregation: SecureAggregation,
        *,
        most: int | None = None,
        directory: Mapping[int, bytes] | None = None,
        defense: Defense | None = None,
        folder: str | Path | None = None,
        timeout: float | None = None,
        seed: int | None = None,
    ) -> None:
        self.inner, self.client, self.aggregation, self.most = inner, check_client(client), aggregation, most
        self.directory, self.defense, self.timeout, self.seed = directory, defense or Defense(), timeout, seed
        self.folder = None if folder is None else Path(folder)
        self._length = sum(value.numel() for value in parts(client.model).values())

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        sent = list(messages)
        if not sent or sent[0].metadata.message_type.partition(".")[0] != "train":
            return self.inner.send_and_receive(sent, timeout=timeout)
        talk = _Talk(self.inner, sent, timeout if self.timeout is None else self.timeout)
        number = round_of(sent[0].content)
        try:
            reply = self._summed(talk, number)
        except (Refused, BadConfig) as error:  # too few nodes, or too few that answered
            LOG.error("round %d is lost: %s", number, reason(error))
            self._tell({"round": number, "clients": 0, "refused": f"by the server: {reason(error)}"})
            return []
        finally:
            for fault in talk.faults:
                self._tell({"round": number, **fault})
        return [reply]

    def _summed(self, talk: _Talk, number: int) -> Message:
        """The five stages, and the mean that they come to as a reply to the first message."""
        received = model_of(talk.sent[0].content, self.client.model)
        (key,) = talk.sent[0].content.array_records
        settings = self.aggregation.settings(round=number, clients=len(talk.sent), length=self._length + 1)
        settings = replace(settings, context=fingerprint(received))
        server = SecureServer(settings, self.directory)
        try:
            roster = server.roster(talk.ask("advertise", dict.fromkeys(talk.nodes, settings.record())))
            deliveries = server.deliver(talk.ask("share", talk.to_all(roster)))
            survivors = server.survivors(talk.ask("mask", talk.to_each(deliveries)))
            consents = server.consents(talk.ask("consent", talk.to_all(survivors)))
            total = server.total(talk.ask("open", talk.to_all(consents)))
        finally:
            talk.faults += [{"refused": f"by the server: {fault}"} for fault in server.faults]
        clients = len(total.survivors)
        mean = unflatten(weighted_mean(total.values, clip=settings.clip), self.client.model)
        mean |= self._released({name: mean[name] for name in trainable(self.client.model)}, clients, number)
        examples = max(1, round(float(total.values[-1]) / settings.clip * self.most)) if self.most else None
        exchange = Exchange(
            received=received,
            sent=received | {name: received[name] + move for name, move in mean.items()},
            round=number,
            member=0,
            examples=examples,
            wire_bytes=talk.uplink,
        )
        if self.folder is not None:
            self._record(exchange, total.survivors)
        metrics = MetricRecord({"num-examples": examples or clients})
        return Message(RecordDict({key: as_record(exchange.sent), "metrics": metrics}), reply_to=talk.sent[0])

    def _released(self, mean: dict[str, Tensor], clients: int, number: int) -> dict[str, Tensor]:
        """The mean after whatever a trusted aggregator does to the sum."""
        if not self.defense.aggregates():
            return mean
        total = {name: value * clients for name, value in mean.items()}
        rng = fresh() if self.seed is None else derive(self.seed, "sum", number)
        return {name: v / clients for name, v in self.defense.on_sum(total, clients=clients, rng=rng).items()}

    def _record(self, exchange: Exchange, survivors: tuple[int, ...]) -> None:
        """Keeps what the server sees: the sum, and who is in it."""
        assert self.folder is not None
        update, clients = exchange.update(self.client), len(survivors)
        update = update.replace(values={k: v * clients for k, v in update.values.items()}, clients=clients)
        self.folder.mkdir(parents=True, exist_ok=True)
        save_update(update, self.folder / f"round-{exchange.round:04d}-sum.safetensors")
        told = {"clients": clients, "survivors": list(survivors), "examples": exchange.examples}
        self._tell({"round": exchange.round, **told, "wire_bytes": exchange.wire_bytes})

    def _tell(self, line: dict[str, Any]) -> None:
        if self.folder is not None:
            tell(self.folder, line)

    # All else is Flower's own.
    @property
    def run(self) -> Any:
        return self.inner.run

    def set_run(self, run: Any) -> None:
        self.inner.set_run(run)

    def create_message(self, *args: Any, **settings: Any) -> Message:
        return self.inner.create_message(*args, **settings)

    def get_node_ids(self) -> Iterable[int]:
        return self.inner.get_node_ids()

    def get_nodes(self) -> Any:
        return self.inner.get_nodes()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return self.inner.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return self.inner.pull_messages(message_ids)


class _Talk:
    """One round's conversation with the nodes: who is which client, what was sent, and what went wrong."""

    def __init__(self, grid: Grid, sent: list[Message], timeout: float | None) -> None:
        self.grid, self.sent, self.timeout = grid, sent, timeout
        self.nodes = {message.metadata.dst_node_id: message for message in sent}
        self.node_of: dict[object, int] = {}
        self.faults: list[dict[str, Any]] = []
        self.uplink = 0

    def to_all(self, record: Record) -> dict[int, Record]:
        """The server's record, for the nodes of all clients that it names."""
        clients = record["clients"]
        assert isinstance(clients, list)
        return {self.node_of[client]: record for client in clients}

    def to_each(self, records: Mapping[int, Record]) -> dict[int, Record]:
        return {self.node_of[client]: record for client, record in records.items()}

    def ask(self, stage: str, requests: Mapping[int, Record]) -> list[Record]:
        """What nodes answer. The model travels where it is trained, and nowhere else."""
        messages = [self._message(stage, node, record) for node, record in requests.items()]
        answers = []
        for reply in self.grid.send_and_receive(messages, timeout=self.timeout):
            node = reply.metadata.src_node_id
            try:
                if reply.has_error():
                    raise Refused(f"by the client: {reply.error.reason}")
                answered, record = read_request(reply.content)
                client = record.get("client")
                if answered != stage or self.node_of.setdefault(client, node) != node:
                    raise Refused("by the server: an answer to something else, or for another client")
            except BadInput as error:
                known = {"node": node} if node in self.nodes else {}  # of a dead node, Flower itself answers
                self.faults.append({**known, "refused": f"{stage}: {error.message}"})
                continue
            self.uplink += size(record)
            answers.append(record)
        return answers

    def _message(self, stage: str, node: int, record: Record) -> Message:
        like = self.nodes[node]
        content = request(stage, record)
        if stage == "mask":
            content = RecordDict({**like.content, **content})
        meta = like.metadata
        return Message(content, dst_node_id=node, message_type=meta.message_type, group_id=meta.group_id)
