"""NVFlare's data exchange objects as named tensors, and back.

By the time a filter runs, NVFlare's own FOBS has decoded the message. Nothing is decoded here: what is no NumPy array of
plain numbers and no torch tensor is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.shareable import ReservedHeaderKey, Shareable
from nvflare.app_common.app_constant import AppConstants
from torch import Tensor, nn

from gradiometer.core import BadInput, Unsupported

from ..exchange import Exchange, count_of, read_exchange, read_model

MODELS = (DataKind.WEIGHTS, DataKind.WEIGHT_DIFF)
EXAMPLES = "num_examples"
"""The entry of a reply's meta in which a client tells how many examples it trained on."""


def content_of(shareable: Shareable) -> DXO | None:
    """The data exchange object of a message; None where it carries none."""
    if shareable.get_header(ReservedHeaderKey.CONTENT_TYPE) != "DXO":
        return None
    return from_shareable(shareable)


def model_of(dxo: DXO, model: nn.Module) -> dict[str, Tensor]:
    """The state that a server sent.

    Raises:
        BadInput: it is not one of this architecture, or holds values that are not finite.
        Unsupported: the server sends differences.
    """
    if dxo.data_kind == DataKind.WEIGHT_DIFF:
        raise Unsupported("the server sends the difference to a model, and not the model", fix="send weights")
    return read_model(as_tensors(dxo.data, "the server's model"), model)


def exchange_of(received: Mapping[str, Tensor], dxo: DXO, *, round: int, member: str) -> Exchange:
    """A client's reply to a model.

    Raises:
        BadInput: it does not fit the model, or holds values that are not finite.
    """
    tensors = as_tensors(dxo.data, "the client's reply")
    return read_exchange(
        received,
        tensors,
        round=round,
        member=member,
        examples=count_of(dxo.get_meta_prop(EXAMPLES)),
        wire_bytes=sum(value.numel() * value.element_size() for value in tensors.values()),
        diff=dxo.data_kind == DataKind.WEIGHT_DIFF,
    )


def round_of(shareable: Shareable) -> int:
    """The round from 0, as far as the server tells it; 0 where it does not."""
    told = shareable.get_header(AppConstants.CURRENT_ROUND)
    return told if isinstance(told, int) and told >= 0 else 0


def as_tensors(data: Any, what: str) -> dict[str, Tensor]:
    """Arrays and tensors as tensors of their own.

    Args:
        what: whose they are, for errors.

    Raises:
        BadInput: they are something else.
    """
    if not isinstance(data, Mapping):
        raise BadInput(f"{what} is a {type(data).__name__}, and not arrays by name")
    return {str(name): _tensor(value, f"{what}: {name}") for name, value in data.items()}


def like(data: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Tensors as NVFlare carried `data`: NumPy arrays, or torch tensors."""
    return {
        name: tensors[str(name)] if isinstance(value, Tensor) else tensors[str(name)].numpy()
        for name, value in data.items()
    }


def plain(value: Any) -> bool:
    """Whether there are only numbers, truth values and text in it, as in metrics."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(plain, value))
    return value is None or isinstance(value, bool | int | float | str | np.bool_ | np.number)


def _tensor(value: Any, what: str) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        return torch.from_numpy(np.array(value))
    kind = f"array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
    raise BadInput(f"{what} is a {kind}, and not an array of numbers")
