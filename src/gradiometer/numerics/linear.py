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


def combined_rows(weight_gradient: Tensor, bias_gradient: Tensor) -> Tensor:
    """Least squares over all rows: x = dW^T db / (db^T db), the rows being repeated measurements of one input.

    Args:
        weight_gradient: [out, in]; bias_gradient: [out].

    Returns:
        The layer's input, [in].
    """
    return weight_gradient.T @ bias_gradient / (bias_gradient @ bias_gradient)


def rank_one_input(
    weight_gradient: Tensor, bias_gradient: Tensor, weight_variance: Tensor, bias_variance: Tensor, *, rounds: int = 30
) -> Tensor:
    """The input of the rank-one gradient [dW | db] = delta [x, 1]^T that fits best, every entry weighted by 1 / variance.

    `combined_rows` takes db as it is; where db is disturbed too, all columns together know delta better than it does.
    Alternating least squares from delta = db, in which x and delta each have a closed form.

    Args:
        weight_gradient, weight_variance: [out, in]; bias_gradient, bias_variance: [out]. Variances are expected squared
            errors, 0 for an exact entry and infinite for one that tells nothing.

    Returns:
        The layer's input, [in].
    """
    seen = torch.cat([weight_gradient, bias_gradient[:, None]], 1).double()
    variance = torch.cat([weight_variance, bias_variance[:, None]], 1).double()
    # Exact entries get a large but finite weight; a floor far below the signal leaves equal variances equal.
    floor = 1e-8 * seen.square().mean().clamp_min(1e-300)
    weight = floor / (variance + floor)
    delta = seen[:, -1] if seen[:, -1].any() else seen.sum(1)
    for _ in range(rounds):
        inputs = _fit(seen.T, weight.T, delta)
        delta = _fit(seen, weight, inputs)
    return (inputs[:-1] / inputs[-1]).to(weight_gradient.dtype)


def _fit(seen: Tensor, weight: Tensor, factor: Tensor) -> Tensor:
    """For every row of `seen` the multiple of `factor` that is nearest to it."""
    return (weight * seen) @ factor / (weight @ factor.square()).clamp_min(1e-300)
