"""LinearBias: the input of a biased linear layer is a quotient of two of its gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from gradiometer.core import Attack, Card, Guess, NotApplicable, Update
from gradiometer.numerics.linear import combined_rows, ratio_row


@dataclass(frozen=True, kw_only=True)
class LinearBias(Attack):
    """Reads the input of the first linear layer off its weight and bias gradients: x = dW_i / db_i."""

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

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        layer = _first_linear(update.need("model"))
        gradient = update.as_gradient()
        weight, bias = gradient[f"{layer}.weight"], gradient[f"{layer}.bias"]
        x = combined_rows(weight, bias) if self.rows == "combined" else ratio_row(weight, bias)
        field = update.layout["x"]
        return Guess(tensors={"x": x.reshape(1, *field.shape)}, notes={"layer": layer})


def _first_linear(model: nn.Module) -> str:
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            if module.bias is None:
                break
            return name
        if any(p.requires_grad for p in module.parameters(recurse=False)):
            break
    raise NotApplicable("LinearBias needs a model whose first trained layer is linear with a bias")
