"""What Flower's own strategies make of models that clients trained, without a deployment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from gradiometer.core import clone_model


def aggregated(strategy: Any, number: int, model: nn.Module, trained: Sequence[tuple[nn.Module, int]]) -> nn.Module:
    """The next global model.

    Args:
        strategy: of `flwr.serverapp.strategy`; it keeps its moments between calls.
        number: of the round, from 1.
        trained: the clients' models and their numbers of examples.

    Raises:
        RuntimeError: Flower aggregated nothing.
    """
    from flwr.app import Message, MetricRecord, RecordDict
    from flwr.supercore.task_identity import TaskIdentity

    from gradiometer.federation.flower.arrays import as_record, as_tensors

    TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1  # messages want them; a deployment sets them
    before = as_record(model.state_dict())
    strategy.current_arrays = {name: array.numpy() for name, array in before.items()}  # as `configure_train` sets it
    replies = []
    for node, (local, examples) in enumerate(trained, 1):
        content = RecordDict(
            {"arrays": as_record(local.state_dict()), "metrics": MetricRecord({"num-examples": examples})}
        )
        asked = Message(RecordDict(), dst_node_id=node, message_type="train")
        replies.append(Message(content, reply_to=asked))
    arrays, _ = strategy.aggregate_train(number, replies)
    if arrays is None:
        raise RuntimeError(f"Flower aggregated nothing in round {number}")
    following = clone_model(model)
    following.load_state_dict(as_tensors(arrays))
    return following
