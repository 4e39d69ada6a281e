"""Sign: one bit an entry and one scale a tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gradiometer.core import Card, Channel, Defense, Memory, Values
from gradiometer.numerics.channels import Signs
from gradiometer.numerics.quantizers import scaled_sign
from gradiometer.numerics.wire import dense_bytes

from .feedback import with_feedback


@dataclass(frozen=True, kw_only=True)
class Sign(Defense):
    """Sends mean|v| sign(v) of each tensor; what is exactly zero is sent as positive, for one bit cannot say zero.

    Args:
        error_feedback: the client remembers what signs left out and adds it to its next update.

    References:
        Bernstein, Wang, Azizzadenesheli, Anandkumar, "signSGD: Compressed Optimisation for Non-Convex Problems", 2018,
        arXiv:1802.04434.
        Karimireddy, Rebjock, Stich, Jaggi, "Error Feedback Fixes SignSGD and other Gradient Compression Schemes",
        2019, arXiv:1901.09847.
    """

    card: ClassVar[Card] = Card(
        summary="Sends the sign of every entry and the mean magnitude of each tensor.",
        title="Error Feedback Fixes SignSGD and other Gradient Compression Schemes",
        authors="Karimireddy, Rebjock, Stich, Jaggi",
        year=2019,
        arxiv="1901.09847",
        family="compression",
        formula="mean|v| sign(v)",
        strength="fixed",
        departs="zero is sent as positive",
    )
    error_feedback: bool = False

    def on_gradients(self, values: Values, *, rng: torch.Generator, memory: Memory) -> dict[str, Tensor]:
        if self.error_feedback:
            return with_feedback(values, memory, _signs)
        return _signs(values)

    def wire_bytes(self, values: Values) -> int:
        return dense_bytes(values, 1, scales=len(values))

    def channel(self) -> Channel | None:
        return Signs()


def _signs(values: Values) -> dict[str, Tensor]:
    return {name: scaled_sign(value) for name, value in values.items()}
