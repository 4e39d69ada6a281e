"""Messages as flat vectors, for cryptography that knows no shapes."""

from __future__ import annotations

import torch
from torch import Tensor

from gradiometer.core import Values


def flat(message: Values, like: Values) -> Tensor:
    """All entries in the order of `like`, in the type of the message."""
    return torch.cat([message[name].detach().cpu().flatten() for name in like])


def named(vector: Tensor, like: Values) -> dict[str, Tensor]:
    """Undoes `flat`, in the types of `like`."""
    parts = vector.split([value.numel() for value in like.values()])
    return {name: part.view(value.shape).to(value) for part, (name, value) in zip(parts, like.items())}
