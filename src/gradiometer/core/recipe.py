"""Recipe: how a client trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .errors import BadConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a client turns its examples into an update.

    Args:
        sends: `gradient` (FedSGD: one mean gradient of all examples) or `delta` (FedAvg: new weights minus old).
        mode: `train` or `eval`, the mode of normalization and dropout during the client's passes.
        examples: how many private examples stand behind one update.
        epochs, batch_size, lr, optimizer, momentum, shuffle: of the local training (`delta` only). `batch_size`
            None takes all examples in each step; `shuffle` draws a new order every epoch.
        proximal: mu of FedProx: each step also follows the gradient of mu/2 |w - w_0|^2 (Li et al., 2020, arXiv:1812.06127).
        shares_buffers: the client also sends its normalization buffers (running mean and variance).
    """

    sends: Literal["gradient", "delta"] = "gradient"
    mode: Literal["eval", "train"] = "eval"
    examples: int = 1
    epochs: int = 1
    batch_size: int | None = None
    lr: float = 0.01
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: float = 0.0
    shuffle: bool = False
    proximal: float = 0.0
    shares_buffers: bool = False

    def __post_init__(self) -> None:
        problems = [
            f"{name} must be at least 1, got {value}"
            for name, value in [
                ("examples", self.examples),
                ("epochs", self.epochs),
                ("batch_size", self.batch_size or 1),
            ]
            if value < 1
        ]
        if not self.lr > 0:
            problems.append(f"lr must be positive, got {self.lr}")
        if not 0 <= self.momentum < 1:
            problems.append(f"momentum must lie in [0, 1), got {self.momentum}")
        if not self.proximal >= 0:
            problems.append(f"proximal must be at least 0, got {self.proximal}")
        if self.sends == "gradient" and self.epochs > 1:
            problems.append('several epochs need sends = "delta"')
        if problems:
            raise BadConfig("the recipe cannot be followed", problems=problems)

    @property
    def steps(self) -> int:
        """Local optimizer steps of one round."""
        return self.epochs * -(-self.examples // (self.batch_size or self.examples))

    @property
    def reach(self) -> float:
        """How far a constant unit gradient moves the weights: lr * steps, and more with momentum (SGD)."""
        paces = (1 - self.momentum**count for count in range(1, self.steps + 1))
        return self.lr * sum(paces) / (1 - self.momentum)
