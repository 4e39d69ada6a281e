"""SubModel: a smaller model cut out of the federation's, for one client and one round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, eq=False)
class SubModel:
    """What a client trains where it does not train everything.

    Args:
        model: with weights and buffers of its own.
        places: for every entry of its parameters and buffers, the position in the whole model's, flattened.
        secret: the client has chosen, and its message is as large as the whole model, with zeros elsewhere.
    """

    model: nn.Module
    places: Mapping[str, Tensor]
    secret: bool = False

    def spread(self, values: Mapping[str, Tensor], whole: nn.Module) -> dict[str, Tensor]:
        """Values of the small model at their places in the whole model's shapes, and zeros elsewhere."""
        shapes = {name: tensor.shape for name, tensor in (*whole.named_parameters(), *whole.named_buffers())}
        return {name: _placed(value, self.places[name], shapes[name]) for name, value in values.items()}

    def gather(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The small model's part of values in the whole model's shapes."""
        return {name: value.flatten()[self.places[name].to(value.device)] for name, value in values.items()}


def _placed(value: Tensor, places: Tensor, shape: torch.Size) -> Tensor:
    zeros = torch.zeros(shape, dtype=value.dtype, device=value.device)
    zeros.view(-1)[places.to(value.device)] = value
    return zeros
