"""What every model function needs: checked arguments, and weights drawn from its own seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from gradiometer.core import BadConfig, did_you_mean

Choice = TypeVar("Choice")

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch's layers draw their weights from `seed`; outside, global randomness is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def choose(what: str, name: str, known: Mapping[str, Choice]) -> Choice:
    """The entry of this name.

    Raises:
        BadConfig: there is none.
    """
    if name not in known:
        raise BadConfig(f'no {what} "{name}"{did_you_mean(name, known)}', fix=f"choose one of {', '.join(known)}")
    return known[name]


def check_shape(model: str, shape: tuple[int, ...], classes: int, *, smallest: int = 1) -> None:
    """Refuses what no picture classifier can take.

    Raises:
        BadConfig: not [channels, height, width], a side below `smallest` pixels, or fewer than two classes.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise BadConfig(f"{model} takes pictures of shape [channels, height, width], got {tuple(shape)}")
    if min(shape[1:]) < smallest:
        raise BadConfig(
            f"{model} needs pictures of at least {smallest} x {smallest} pixels, got {shape[1]} x {shape[2]}",
            fix="enlarge the pictures, or choose another model",
        )
    if classes < 2:
        raise BadConfig(f"{model} needs at least 2 classes, got {classes}")
