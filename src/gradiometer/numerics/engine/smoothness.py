"""Whether a network is smooth: the class of models for which linearizing the update pays."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from gradiometer.core import in_mode

from .elementwise import Kinked
from .fixed import MaxPooled
from .rule import Local


def smoothness(model: nn.Module, mode: str, x: Tensor) -> Literal["smooth", "kinked", "unknown"]:
    """`kinked` if a ReLU or a maximum is among the model's operations, `smooth` if all are known to have two derivatives.

    Args:
        mode: of the client, `train` or `eval`.
        x: pictures of the shape to come; the model is run on them once.
    """
    from .capture import capture  # torch.fx takes a while to load

    try:
        with in_mode(model, mode):
            rules = capture(model, x, frozenset(), ghosts=False).rules
    except Exception:  # whatever a user's model raises when it is taken apart; nothing is known of it then
        return "unknown"
    if any(isinstance(rule, (Kinked, MaxPooled)) for rule in rules):
        return "kinked"
    return "unknown" if any(isinstance(rule, Local) for rule in rules) else "smooth"
