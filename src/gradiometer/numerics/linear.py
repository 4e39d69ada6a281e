"""The identity behind every analytic attack: dL/dW = sum_s delta_s x_s^T and dL/db = sum_s delta_s of a linear layer."""

from __future__ import annotations

import torch
from torch import Tensor


def ratio_row(weight_gradient: Tensor, bias_gradient: Tensor) -> Tensor:
    """The row with the largest |db| divided by its db: exact if one example alone reaches that neuron.

    Args:
        weight_gradient: [out, in]; bias_gradient: [out].

    Returns:
        The layer's input, [in].
    """
    row = int(bias_gradient.abs().argmax())
    return weight_gradient[row] / bias_gradient[row]


def combined_rows(weight_gradient: Tensor, bias_gradient: Tensor, variance: Tensor | None = None) -> Tensor:
    """Least squares over all rows: x = dW^T w db / (db^T w db), the rows being repeated measurements of one input.

    Args:
        weight_gradient: [out, in]; bias_gradient: [out].
        variance: expected squared error of a row's entries [out], or None for equal rows.

    Returns:
        The layer's input, [in].
    """
    trust = torch.ones_like(bias_gradient) if variance is None else 1.0 / variance.clamp_min(1e-30)
    trust = trust / trust.max()
    weighted = trust * bias_gradient
    return weight_gradient.T @ weighted / (weighted @ bias_gradient)
