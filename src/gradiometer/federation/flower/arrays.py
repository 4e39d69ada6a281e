"""Flower's messages as named tensors, and back. Only plain numbers are read; Flower never unpickles them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, RecordDict
from torch import Tensor, nn

from gradiometer.core import BadInput

from ..exchange import Exchange, count_of, read_exchange, read_model


def model_of(content: RecordDict, model: nn.Module) -> dict[str, Tensor]:
    """The state that a server sent.

    Raises:
        BadInput: it is not one of this architecture, or holds values that are not finite.
    """
    tensors, _ = _only_arrays(content, "the server's message")
    return read_model(tensors, model)


def exchange_of(received: Mapping[str, Tensor], content: RecordDict, *, round: int, member: int) -> Exchange:
    """A client's reply to a model.

    Raises:
        BadInput: it does not fit the model, or holds values that are not finite.
    """
    tensors, size = _only_arrays(content, "the client's reply")
    return read_exchange(received, tensors, round=round, member=member, examples=_examples(content), wire_bytes=size)


def round_of(content: RecordDict) -> int:
    """The round from 0, as far as the server tells it (`server-round`, from 1); 0 where it does not."""
    told = [record["server-round"] for record in content.config_records.values() if "server-round" in record]
    return max(0, int(told[0]) - 1) if told and isinstance(told[0], int) else 0


def as_tensors(record: ArrayRecord) -> dict[str, Tensor]:
    """Flower's arrays as tensors of their own."""
    return {name: torch.from_numpy(np.array(array.numpy())) for name, array in record.items()}


def as_record(tensors: Mapping[str, Tensor]) -> ArrayRecord:
    """Tensors as Flower sends them."""
    return ArrayRecord({name: Array(tensor.detach().cpu().contiguous().numpy()) for name, tensor in tensors.items()})


def _only_arrays(content: RecordDict, what: str) -> tuple[dict[str, Tensor], int]:
    """The tensors of the one record of arrays in a message, and its bytes."""
    records = list(content.array_records.values())
    if len(records) != 1:
        raise BadInput(f"{what}: {len(records)} records of arrays, where one is due")
    try:
        tensors = as_tensors(records[0])
    except (ValueError, TypeError, EOFError, OSError) as error:
        raise BadInput(f"{what}: an array cannot be read: {' '.join(str(error).split())[:100]}") from error
    return tensors, sum(len(array.data) for array in records[0].values())


def _examples(content: RecordDict) -> int | None:
    told: list[Any] = [record["num-examples"] for record in content.metric_records.values() if "num-examples" in record]
    return count_of(told[0]) if told else None
