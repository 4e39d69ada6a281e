"""What a defense remembers between rounds, as JSON-like data and a list of tensors: nothing is ever pickled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gradiometer.core import Unsupported


def pack(value: Any, kept: list[Tensor]) -> Any:
    """Plain data with tensors replaced by their places in `kept`: `{"tensor": 3}`; mappings are `{"map": {...}}`.

    Raises:
        Unsupported: anything else among them.
    """
    if isinstance(value, torch.Tensor):
        kept.append(value)
        return {"tensor": len(kept) - 1}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {"map": {key: pack(item, kept) for key, item in value.items()}}
    if isinstance(value, list | tuple):
        return [pack(item, kept) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise Unsupported(
        f"a defense remembers a {type(value).__name__} between rounds, which cannot be kept",
        fix="let it keep tensors, numbers, strings, lists and mappings of them only",
    )


def unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What `pack` was given; `tensors` are those that it kept, by their places."""
    if isinstance(value, list):
        return [unpack(item, tensors) for item in value]
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[str(value["tensor"])]
        return {key: unpack(item, tensors) for key, item in value["map"].items()}
    return value
