"""The classification head: where it stands in a model, and what it sees and answers on given inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gradiometer.core import Batch, Loss, NotApplicable, clone_model, global_seed, in_mode


@dataclass(frozen=True, kw_only=True)
class Head:
    """Names of the head's parameters; `bias` is None where the head has none."""

    weight: str
    bias: str | None

    @property
    def module(self) -> str:
        """Name of the layer that owns them; empty if the model itself is the head."""
        return self.weight.rpartition(".")[0]


def find_head(model: nn.Module | None, gradient: Mapping[str, Tensor], classes: int) -> Head:
    """The linear layer that answers one logit a class, by name and shape, never by its place in the list.

    Where several layers have `classes` outputs, the gradient itself tells: softmax probabilities and one-hot labels
    both sum to one, so the rows of the head's gradient sum to zero, and those of a hidden layer do not.

    Args:
        model: at the start of the round; None if the observer does not have it.
        gradient: by parameter name, the head's weight being [classes, features].

    Raises:
        NotApplicable: no trained linear layer has that many outputs.
    """
    modules = dict(model.named_modules()) if model is not None else {}
    found = []
    for name, value in gradient.items():
        owner, _, kind = name.rpartition(".")
        linear = model is None or isinstance(modules.get(owner), nn.Linear)
        if kind == "weight" and value.ndim == 2 and value.shape[0] == classes and linear:
            value = value.detach()
            found.append((float(value.sum(0).norm() / value.norm().clamp_min(1e-30)), name, owner))
    if not found:
        raise NotApplicable(
            f"no trained linear layer of the model has {classes} outputs, one a class",
            fix="attack a classifier whose last layer is linear, or correct `classes` in the layout",
        )
    _, weight, owner = min(found)
    bias = f"{owner}.bias" if owner else "bias"
    return Head(weight=weight, bias=bias if bias in gradient else None)


def head_outputs(
    model: nn.Module, loss: Loss, head: Head, batch: Batch, *, mode: str, size: int, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """What the head sees and answers on a batch, in double precision.

    In train mode the examples pass in groups of `size`, as the client's do, because batch statistics depend on it;
    an incomplete last group is left out.

    Returns:
        Inputs of the head [n, features] and probabilities [n, classes].

    Raises:
        NotApplicable: the head is not applied once an example.
    """
    model = clone_model(model)
    seen: list[tuple[Tensor, Tensor]] = []

    def note(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        seen.append((inputs[0].detach().double(), output.detach().double().softmax(-1)))

    step = min(size, batch.size) if mode == "train" else 256
    last = batch.size - batch.size % step if mode == "train" else batch.size
    handle = model.get_submodule(head.module).register_forward_hook(note)
    with torch.no_grad(), in_mode(model, mode), global_seed(rng):
        for first in range(0, last, step):
            loss(model, batch.take(slice(first, first + step)))
    handle.remove()
    inputs, answers = torch.cat([i for i, _ in seen]), torch.cat([a for _, a in seen])
    if inputs.ndim != 2 or len(inputs) != last:
        raise NotApplicable(f"the head {head.module!r} is not applied once an example, as label counting assumes")
    return inputs, answers
