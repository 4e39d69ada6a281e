"""LinearBias: the input of a biased linear layer is a quotient of two of its gradients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from gradiometer.core import Attack, Card, Channel, Guess, NotApplicable, Update, Values
from gradiometer.numerics.linear import combined_rows, rank_one_input, ratio_row


@dataclass(frozen=True, kw_only=True)
class LinearBias(Attack):
    """Reads the input of the first linear layer off its weight and bias gradients: x = dW_i / db_i.

    Args:
        rows: `combined` takes the least squares over all rows, `largest` the row with the largest |db|.
        channel: what an informed attacker knows of a defense: values are decoded, and combined rows are the best
            rank-one fit under the channel's variances.
    """

    card: ClassVar[Card] = Card(
        summary="Divides a linear layer's weight gradient by its bias gradient: the layer's input, exactly, at batch 1.",
        title="Privacy-Preserving Deep Learning via Additively Homomorphic Encryption",
        authors="Phong, Aono, Hayashi, Wang, Moriai",
        year=2018,
        modality="image",
        family="analytic",
        formula="x = dW^T db / ||db||^2",
        needs=("model",),
    )
    rows: Literal["combined", "largest"] = "combined"
    channel: Channel | None = None

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        layer = _first_linear(update.need("model"))
        x = self._input(update.values, f"{layer}.weight", f"{layer}.bias")
        field = update.layout["x"]
        return Guess(tensors={"x": x.reshape(1, *field.shape)}, notes={"layer": layer})

    def observing(self, channel: Channel) -> Attack:
        return replace(self, channel=channel)

    def _input(self, sent: Values, weight: str, bias: str) -> Tensor:
        """Quotients are the same for a gradient and for a multiple of it, as one step's weight delta is."""
        values = sent if self.channel is None else self.channel.decode(sent)
        if self.rows == "largest":
            return ratio_row(values[weight], values[bias])
        if self.channel is None:
            return combined_rows(values[weight], values[bias])
        variance = self.channel.variance(sent)
        return rank_one_input(values[weight], values[bias], variance[weight], variance[bias])


def _first_linear(model: nn.Module) -> str:
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            if module.bias is None:
                break
            return name
        if any(p.requires_grad for p in module.parameters(recurse=False)):
            break
    raise NotApplicable("LinearBias needs a model whose first trained layer is linear with a bias")
