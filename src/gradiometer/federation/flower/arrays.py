"""Arrays of Flower's messages as named tensors, and back. Only plain numbers are read; Flower never unpickles them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, RecordDict
from torch import Tensor

from gradiometer.core import BadInput


def only_arrays(content: RecordDict, what: str) -> tuple[str, dict[str, Tensor], int]:
    """The one record of arrays in a message: its key, its tensors, and its bytes.

    Args:
        what: whose message it is, for errors.

    Raises:
        BadInput: there is none or more than one, or it cannot be read.
    """
    records = dict(content.array_records)
    if len(records) != 1:
        raise BadInput(f"{what}: {len(records)} records of arrays, where one is due")
    key, record = next(iter(records.items()))
    try:
        tensors = as_tensors(record)
    except (ValueError, TypeError, EOFError, OSError) as error:
        raise BadInput(f"{what}: an array cannot be read: {' '.join(str(error).split())[:100]}") from error
    return key, tensors, sum(len(array.data) for array in record.values())


def as_tensors(record: ArrayRecord) -> dict[str, Tensor]:
    """Flower's arrays as tensors of their own."""
    return {name: torch.from_numpy(np.array(array.numpy())) for name, array in record.items()}


def as_record(tensors: Mapping[str, Tensor]) -> ArrayRecord:
    """Tensors as Flower sends them."""
    return ArrayRecord({name: Array(tensor.detach().cpu().contiguous().numpy()) for name, tensor in tensors.items()})
