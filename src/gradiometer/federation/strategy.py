"""Strategies: what the server makes of the clients' mean update."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gradiometer.core import BadConfig, Recipe, Values

Moments = dict[str, dict[str, Tensor]]
"""What a strategy keeps between rounds, by moment and parameter."""


@dataclass(frozen=True, kw_only=True)
class Strategy(ABC):
    """How the global weights follow from the mean of what clients send, weighted by their numbers of examples.

    `sends` is what its clients must send.
    """

    sends: ClassVar[Literal["gradient", "delta"]] = "delta"

    @abstractmethod
    def step(self, weights: Values, mean: Values, moments: Moments, number: int) -> tuple[dict[str, Tensor], Moments]:
        """New weights and moments; the arguments are not written to.

        Args:
            weights, mean: by parameter name: the global weights of this round, and the mean update.
            number: of the round, from 0.
        """

    def recipe(self, recipe: Recipe) -> Recipe:
        """The local training that this strategy asks of clients who would follow `recipe`."""
        return recipe


@dataclass(frozen=True, kw_only=True)
class FedSGD(Strategy):
    """w <- w - lr mean(g).

    References:
        McMahan, Moore, Ramage, Hampson, Agüera y Arcas, "Communication-Efficient Learning of Deep Networks from
        Decentralized Data", 2017, arXiv:1602.05629.
    """

    sends: ClassVar[Literal["gradient", "delta"]] = "gradient"
    lr: float = 0.1

    def __post_init__(self) -> None:
        _positive(self, "lr")

    def step(self, weights: Values, mean: Values, moments: Moments, number: int) -> tuple[dict[str, Tensor], Moments]:
        return _moved(weights, mean, -self.lr), moments


@dataclass(frozen=True, kw_only=True)
class FedAvg(Strategy):
    """w <- w + lr mean(delta): with lr = 1 the mean of the clients' weights.

    References:
        McMahan, Moore, Ramage, Hampson, Agüera y Arcas, "Communication-Efficient Learning of Deep Networks from
        Decentralized Data", 2017, arXiv:1602.05629.
    """

    lr: float = 1.0

    def __post_init__(self) -> None:
        _positive(self, "lr")

    def step(self, weights: Values, mean: Values, moments: Moments, number: int) -> tuple[dict[str, Tensor], Moments]:
        return _moved(weights, mean, self.lr), moments


@dataclass(frozen=True, kw_only=True)
class FedProx(Strategy):
    """FedAvg whose clients train on loss + mu/2 |w - w_t|^2, which keeps uneven clients near the global weights.

    References:
        Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith, "Federated Optimization in Heterogeneous Networks", 2020,
        arXiv:1812.06127.
    """

    mu: float = 0.1

    def __post_init__(self) -> None:
        if not (self.mu >= 0 and math.isfinite(self.mu)):
            raise BadConfig(f"FedProx needs mu >= 0, got {self.mu}")

    def step(self, weights: Values, mean: Values, moments: Moments, number: int) -> tuple[dict[str, Tensor], Moments]:
        return _moved(weights, mean, 1.0), moments

    def recipe(self, recipe: Recipe) -> Recipe:
        return replace(recipe, proximal=self.mu)


@dataclass(frozen=True, kw_only=True)
class FedAdam(Strategy):
    """Adam on the server, with the clients' mean move D in place of a gradient.

    m <- b1 m + (1 - b1) D,  v <- b2 v + (1 - b2) D^2,  w <- w + lr sqrt(1 - b2^(t+1)) / (1 - b1^(t+1)) m / (sqrt(v) + tau)

    with t = 1 in the first round. Departs from the paper in the correction of the early steps and in v = 0 at the
    start, both as Flower does it, so that the same plan gives the same weights there.

    Args:
        lr, tau: of the server, > 0; tau bounds how much rare moves are amplified.
        first, second: b1 and b2, in [0, 1).

    References:
        Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar, McMahan, "Adaptive Federated Optimization", 2021,
        arXiv:2003.00295.
    """

    lr: float = 0.1
    first: float = 0.9
    second: float = 0.99
    tau: float = 1e-3

    def __post_init__(self) -> None:
        _positive(self, "lr", "tau")
        for name in ("first", "second"):
            if not 0 <= getattr(self, name) < 1:
                raise BadConfig(f"FedAdam needs {name} in [0, 1), got {getattr(self, name)}")

    def step(self, weights: Values, mean: Values, moments: Moments, number: int) -> tuple[dict[str, Tensor], Moments]:
        zeros = {name: torch.zeros_like(value) for name, value in weights.items()}
        before = moments or {"first": zeros, "second": zeros}
        first = {k: self.first * before["first"][k] + (1 - self.first) * mean[k] for k in weights}
        second = {k: self.second * before["second"][k] + (1 - self.second) * mean[k] ** 2 for k in weights}
        power = number + 2
        rate = self.lr * math.sqrt(1 - self.second**power) / (1 - self.first**power)
        moved = {k: w + rate * first[k] / (second[k].sqrt() + self.tau) for k, w in weights.items()}
        return moved, {"first": first, "second": second}


STRATEGIES: dict[str, type[Strategy]] = {cls.__name__: cls for cls in (FedSGD, FedAvg, FedProx, FedAdam)}


def _moved(weights: Values, mean: Values, rate: float) -> dict[str, Tensor]:
    return {name: weight + rate * mean[name] for name, weight in weights.items()}


def _positive(strategy: Strategy, *names: str) -> None:
    for name in names:
        value = getattr(strategy, name)
        if not (value > 0 and math.isfinite(value)):
            raise BadConfig(f"{type(strategy).__name__} needs {name} > 0, got {value}")
