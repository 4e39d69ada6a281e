"""What both sides of secure aggregation in Flower must lay out alike: requests, the vector, and what it is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from torch import Tensor, nn

from gradiometer.core import BadInput, trainable

from ..secure.record import Record, digest

REQUEST, MASKED, STAGE, WORDS = "gradiometer.masked", "gradiometer.masked.words", "stage", "words"


def request(stage: str, record: Record) -> RecordDict:
    """A record of the protocol as a message of Flower, which sends long arrays, and nothing else, in pieces."""
    told = {name: value for name, value in record.items() if name != WORDS}
    content = RecordDict({REQUEST: ConfigRecord({STAGE: stage, **told})})
    words = record.get(WORDS)
    if isinstance(words, bytes):
        content[MASKED] = ArrayRecord({WORDS: Array(np.frombuffer(words, np.uint8))})
    return content


def read_request(content: RecordDict) -> tuple[str, Record]:
    """The stage that is asked for, or answered, and its record.

    Raises:
        BadInput: there is none, or it cannot be read.
    """
    if REQUEST not in content.config_records:
        raise BadInput("this message takes no part in secure aggregation")
    told: Any = dict(content.config_records[REQUEST])
    stage = str(told.pop(STAGE, ""))
    if MASKED in content.array_records:
        try:
            told[WORDS] = content.array_records[MASKED][WORDS].numpy().tobytes()
        except (KeyError, ValueError, TypeError, EOFError, OSError) as error:
            raise BadInput(f"masked words cannot be read: {' '.join(str(error).split())[:100]}") from error
    return stage, told


def parts(model: nn.Module) -> dict[str, Tensor]:
    """Everything that travels under masks, by name: trained parameters, then buffers; counters, which are integers, do not."""
    return trainable(model) | {name: value for name, value in model.named_buffers() if value.is_floating_point()}


def flatten(values: Mapping[str, Tensor], model: nn.Module) -> Tensor:
    """Moves of the parts of this model as one vector."""
    return torch.cat([values[name].detach().flatten() for name in parts(model)])


def unflatten(vector: Tensor, model: nn.Module) -> dict[str, Tensor]:
    """Undoes `flatten`, in the model's types."""
    like = parts(model)
    pieces = vector.split([value.numel() for value in like.values()])
    return {name: piece.view(value.shape).to(value.dtype) for piece, (name, value) in zip(pieces, like.items())}


def fingerprint(state: Mapping[str, Tensor]) -> bytes:
    """A hash of the model that was sent, 32 bytes: everybody signs for the same one."""
    names = sorted(state)
    return digest("model", "\n".join(names), *(state[name].cpu().contiguous().numpy().tobytes() for name in names))
