"""Training age: a victim that has been trained for a stated number of steps. Leakage falls with it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from gradiometer.core import (
    BadConfig,
    BadInput,
    Data,
    Loss,
    Unsupported,
    clone_model,
    cross_entropy,
    derive,
    global_seed,
    spawn,
)


def trained(
    model: nn.Module,
    data: Data,
    *,
    steps: int,
    lr: float = 0.01,
    batch_size: int = 64,
    momentum: float = 0.9,
    seed: int = 0,
    on: Literal["public", "private"] = "public",
    loss: Loss = cross_entropy,
) -> nn.Module:
    """A copy of `model` after `steps` steps of SGD in train mode, handed back in eval mode; `model` stays as it is.

    It stands for the global model of a later round. By default it has seen the public examples only: a model that has
    already fitted the very examples under attack would understate the leak of new ones.

    Args:
        steps: 0 gives a plain copy.
        lr, momentum, batch_size: of the SGD; batches are drawn without replacement within an epoch.
        seed: order of examples and dropout.

    Raises:
        BadConfig: negative steps, or a rate or batch size that is not positive.
        Unsupported: no public examples.
        BadInput: the loss is no longer finite.
    """
    if steps < 0 or batch_size < 1 or not lr > 0:
        raise BadConfig(f"cannot train for {steps} steps of {batch_size} examples with learning rate {lr}")
    batch = data.public if on == "public" else data.private
    if batch is None:
        raise Unsupported(
            "there are no public examples to train on", fix='pass data with public examples, or on="private"'
        )
    clone = clone_model(model)
    rng = derive(seed, "trained")
    optimizer = torch.optim.SGD([p for p in clone.parameters() if p.requires_grad], lr=lr, momentum=momentum)
    order = torch.empty(0, dtype=torch.long)
    clone.train()
    with global_seed(spawn(rng)):
        for step in range(steps):
            if not len(order):
                order = torch.randperm(batch.size, generator=rng)
            part, order = batch.take(order[:batch_size]), order[batch_size:]
            optimizer.zero_grad()
            value = loss(clone, part)
            if not torch.isfinite(value):
                raise BadInput(f"training diverged at step {step + 1}: the loss is {value.item()}", fix="lower lr")
            value.backward()
            optimizer.step()
    for parameter in clone.parameters():
        parameter.grad = None
    return clone.eval()
