"""Gradients of single examples, clipped and summed a few at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad, vmap

from gradiometer.core import Batch, WeightsLoss

Factors = Callable[[Tensor], Tensor]


def sum_of_scaled(
    loss: WeightsLoss, weights: dict[str, Tensor], batch: Batch, factors: Factors, microbatch: int
) -> tuple[dict[str, Tensor], Tensor]:
    """sum_i f(norms of g_i) g_i, with g_i the gradient of example i, and all the norms.

    Holds the gradients of `microbatch` examples at a time. One at a time takes plain autograd, for models that
    `torch.func.vmap` cannot run.

    Args:
        factors: from the norms of every example's gradient, a tensor each, [examples, tensors], to a factor for each.
        microbatch: >= 1.

    Returns:
        The sum, shaped as `weights`, and the norms [n, tensors].
    """
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    norms = []
    for first in range(0, batch.size, microbatch):
        part = batch.take(slice(first, first + microbatch))
        gradients = _single(loss, weights, part) if microbatch == 1 else _vectorized(loss, weights, part)
        length = torch.stack([g.flatten(1).norm(dim=1) for g in gradients.values()], dim=1)
        norms.append(length)
        for (name, g), factor in zip(gradients.items(), factors(length).unbind(1)):
            total[name] += torch.tensordot(factor, g, dims=1)
    return total, torch.cat(norms)


def mean_magnitude(loss: WeightsLoss, weights: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """mean_i |g_i|, entry by entry, with g_i the gradient of example i."""
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for i in range(batch.size):
        for name, g in _single(loss, weights, batch.take(slice(i, i + 1))).items():
            total[name] += g[0].abs() / batch.size
    return total


def _vectorized(loss: WeightsLoss, weights: dict[str, Tensor], part: Batch) -> dict[str, Tensor]:
    def of_one(live: dict[str, Tensor], example: dict[str, Tensor]) -> Tensor:
        return loss(live, Batch({name: value[None] for name, value in example.items()}))

    found: dict[str, Tensor] = vmap(grad(of_one), in_dims=(None, 0), randomness="different")(weights, dict(part))
    return found


def _single(loss: WeightsLoss, weights: dict[str, Tensor], part: Batch) -> dict[str, Tensor]:
    live = {name: weight.detach().clone().requires_grad_() for name, weight in weights.items()}
    found = torch.autograd.grad(loss(live, part), list(live.values()), materialize_grads=True)
    return {name: g[None] for name, g in zip(live, found)}
