"""A federation of gradiometer as a pair of Flower apps: the same members, draws and local training as in process."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp import strategy as flower

from gradiometer.core import BadConfig, Unsupported, clone_model, derive

from ..exchange import check_client
from ..federation import Federation
from ..local import draw
from ..measuring import correct, measure
from ..secure_aggregation import SecureAggregation
from ..strategy import FedAdam, FedAvg, FedProx, Strategy
from .arrays import as_record, model_of, round_of
from .mod import Mod, member_of
from .recording import Recording
from .secure_grid import SecureGrid


def client_app(federation: Federation, *, mods: Sequence[Mod] = ()) -> ClientApp:
    """Trains as the member whose number is the node's `partition-id`. The federation's defense is left to a mod.

    Raises:
        BadConfig: clients that send gradients.
    """
    check_client(federation.client)
    app = ClientApp()

    @app.train(mods=list(mods))
    def train(message: Message, context: Context) -> Message:
        number, member = round_of(message.content), _checked(federation, context)
        received = model_of(message.content, federation.client.model)
        model = clone_model(federation.client.model)
        model.load_state_dict(received)
        recipe = federation.strategy.recipe(federation.client.recipe)
        own = federation.members[member].train
        batch = draw(own, federation.examples, seed=federation.seed, round=number, member=member)
        rng = derive(federation.seed, number, member, "train")
        sent = replace(federation.client, model=model, recipe=recipe).train(batch, rng=rng)
        trained = received | {name: received[name] + delta for name, delta in sent.values.items()}
        trained |= {name: value for name, value in sent.buffers.items() if name in received}
        metrics = MetricRecord({"num-examples": batch.size})
        return Message(RecordDict({"arrays": as_record(trained), "metrics": metrics}), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        member = federation.members[_checked(federation, context)]
        model = clone_model(federation.client.model)
        model.load_state_dict(model_of(message.content, model))
        test = member.test if member.test is not None else member.train
        told = MetricRecord({"accuracy": correct(model, test) / test.size, "num-examples": test.size})
        return Message(RecordDict({"metrics": told}), reply_to=message)

    return app


def server_app(
    federation: Federation,
    *,
    rounds: int,
    folder: str | Path,
    timeout: float = 3600.0,
    directory: Mapping[int, bytes] | None = None,
) -> ServerApp:
    """Runs the federation's strategy as Flower has it, records all that it sees, and keeps the accuracy of each round.

    Args:
        folder: gets the updates, or their sums under secure aggregation, `replies.jsonl`, and `server.jsonl`: accuracy and
            seconds of every round.
        directory: of secure aggregation, as `SecureGrid`.
    """
    secure = _secure(federation)
    place, inner = Path(folder), flower_strategy(federation.strategy, _least(federation))
    recipe = federation.strategy.recipe(federation.client.recipe)
    app, started = ServerApp(), [time.perf_counter()]
    place.mkdir(parents=True, exist_ok=True)

    def tell(number: int, arrays: ArrayRecord) -> MetricRecord | None:
        seconds = time.perf_counter() - started[0]
        model = clone_model(federation.client.model)
        model.load_state_dict(model_of(RecordDict({"arrays": arrays}), model))
        found = measure(model, federation.test, federation.members)
        line = {"round": number, "accuracy": found.value, "worst": found.worst, "worst_member": found.worst_member}
        line["seconds"] = seconds
        with (place / "server.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        started[0] = time.perf_counter()
        return None

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        client, strategy = replace(federation.client, recipe=recipe), inner
        if secure is None:
            strategy = Recording(inner, client, place)
        else:
            grid = SecureGrid(
                grid,
                client,
                secure,
                most=federation.most,
                directory=directory,
                defense=federation.defense,
                folder=place,
                seed=federation.seed,
            )
        start = as_record(federation.client.model.state_dict())
        strategy.start(grid=grid, initial_arrays=start, num_rounds=rounds, timeout=timeout, evaluate_fn=tell)

    return app


def _secure(federation: Federation) -> SecureAggregation | None:
    """Raises `Unsupported` for an aggregation that has no mod."""
    if federation.aggregation is None or isinstance(federation.aggregation, SecureAggregation):
        return federation.aggregation
    raise Unsupported(
        f"{type(federation.aggregation).__name__} has no mod for Flower",
        fix="choose SecureAggregation, or train in process",
    )


def _least(federation: Federation) -> int:
    """Nodes without which no round begins: two thirds, so that one that dies does not hold up the others for good."""
    secure = _secure(federation)
    if secure is not None:
        return secure.settings(round=0, clients=len(federation.members), length=1).threshold
    return -(-2 * len(federation.members) // 3)


def flower_strategy(strategy: Strategy, least: int) -> flower.Strategy:
    """Flower's strategy of the same formula, with all nodes that are there, and at least so many.

    Raises:
        Unsupported: Flower has none.
    """
    # Accuracy is measured where the model is; asking every node for it would double the number of processes.
    nodes: dict[str, Any] = {"min_train_nodes": least, "min_available_nodes": least, "fraction_evaluate": 0.0}
    if isinstance(strategy, FedAvg) and strategy.lr == 1.0:
        return flower.FedAvg(**nodes)
    if isinstance(strategy, FedProx):
        return flower.FedProx(proximal_mu=strategy.mu, **nodes)
    if isinstance(strategy, FedAdam):
        return flower.FedAdam(eta=strategy.lr, beta_1=strategy.first, beta_2=strategy.second, tau=strategy.tau, **nodes)
    raise Unsupported(f"Flower has no {strategy}", fix="choose FedAvg with lr = 1, FedProx or FedAdam")


def _checked(federation: Federation, context: Context) -> int:
    member = member_of(context)
    if not 0 <= member < len(federation.members):
        raise BadConfig(
            f"this node is member {member} of {len(federation.members)}", fix='start it with "partition-id=N"'
        )
    return member
