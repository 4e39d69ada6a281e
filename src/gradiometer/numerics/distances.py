"""Distances between a simulated and a sent update, each with its derivative in closed form.

`distance.against(sent)` prepares the comparison once; the comparison then maps simulated values (same names) to the
distance and to its derivative by every simulated entry, the cotangent that the engine pulls back to the unknown. Closed
forms spare the graph through the objective. Every distance is relative: 0 is a perfect match, and an unrelated update
lies in the order of 1, so that weights of priors mean the same for large and small gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from gradiometer.core import Channel, Values

Comparison = Callable[[Values], tuple[Tensor, dict[str, Tensor]]]

TINY = torch.finfo(torch.float32).tiny
"""Keeps a vanishing length from dividing by zero."""


@runtime_checkable
class Distance(Protocol):
    """How far a simulated update is from the sent one."""

    def against(self, sent: Values) -> Comparison:
        """Prepares the comparison with `sent`: simulated values -> (scalar, its derivative by each of them)."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Products:
    """All that some distances need of s and t: <s, t>, |s|^2 and |s - t|^2, over all entries of all tensors."""

    inner: float
    squared: float
    gap: float


@dataclass(frozen=True, kw_only=True)
class Combined:
    """A distance whose derivative by s is `along` s + `across` t."""

    value: float
    along: float
    across: float


@runtime_checkable
class Paired(Distance, Protocol):
    """A distance that inner products determine: s itself need not be formed.

    `asks_gap`: whether it reads `Products.gap`.
    """

    asks_gap: ClassVar[bool]

    def combine(self, products: Products, sent: float) -> Combined:
        """The distance and its derivative; `sent` is |t|^2."""
        ...


@dataclass(frozen=True, kw_only=True)
class SquaredL2:
    """||s - t||^2 / ||t||^2 over all entries of all tensors."""

    asks_gap: ClassVar[bool] = True

    def combine(self, products: Products, sent: float) -> Combined:
        """See `Paired.combine`."""
        scale = 1 / max(sent, TINY)
        return Combined(value=scale * products.gap, along=2 * scale, across=-2 * scale)

    def against(self, sent: Values) -> Comparison:
        scale = 1 / _floor(_dot(sent, sent))

        def compare(simulated: Values) -> tuple[Tensor, dict[str, Tensor]]:
            gap = {name: simulated[name] - target for name, target in sent.items()}
            return scale * _dot(gap, gap), {name: 2 * scale * value for name, value in gap.items()}

        return compare


@dataclass(frozen=True, kw_only=True)
class L1:
    """sum |s - t| / sum |t| over all entries of all tensors."""

    def against(self, sent: Values) -> Comparison:
        scale = 1 / _floor(_total_magnitude(sent))

        def compare(simulated: Values) -> tuple[Tensor, dict[str, Tensor]]:
            gap = {name: simulated[name] - target for name, target in sent.items()}
            return scale * _total_magnitude(gap), {name: scale * value.sign() for name, value in gap.items()}

        return compare


@dataclass(frozen=True, kw_only=True)
class Elastic:
    """sum_l w_l |s_l - t_l|^2 / sum_l w_l |t_l|^2 + alpha sum_l w_l |s_l - t_l|_1 / sum_l w_l |t_l|_1 over tensors l.

    The weights w fall linearly from 1 at the first tensor to 1/L at the last: those next to the input tell most about it.

    Args:
        alpha: weight of the sum of magnitudes.

    References:
        Deng et al., "TAG: Gradient Attack on Transformer-based Language Models", 2021, arXiv:2103.06819.
    """

    alpha: float = 1.0

    def against(self, sent: Values) -> Comparison:
        weights = {name: 1 - i / len(sent) for i, name in enumerate(sent)}
        squares = sum(w * float(_dot({n: sent[n]}, {n: sent[n]})) for n, w in weights.items())
        sizes = sum(w * float(_total_magnitude({n: sent[n]})) for n, w in weights.items())
        square, size = 1 / max(squares, TINY), self.alpha / max(sizes, TINY)

        def compare(simulated: Values) -> tuple[Tensor, dict[str, Tensor]]:
            values, cotangents = [], {}
            for name, weight in weights.items():
                gap = simulated[name] - sent[name]
                values.append(weight * (square * gap.square().sum() + size * gap.abs().sum()))
                cotangents[name] = weight * (2 * square * gap + size * gap.sign())
            return torch.stack(values).sum(), cotangents

        return compare


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """1 - <s, t> / (||s|| ||t||), all tensors flattened into one vector. Blind to the length of the update."""

    asks_gap: ClassVar[bool] = False

    def combine(self, products: Products, sent: float) -> Combined:
        """See `Paired.combine`."""
        squared = max(products.squared, TINY)
        across = 1 / max((squared * sent) ** 0.5, TINY)
        cosine = products.inner * across
        return Combined(value=1 - cosine, along=cosine / squared, across=-across)

    def against(self, sent: Values) -> Comparison:
        squared_length = _dot(sent, sent)

        def compare(simulated: Values) -> tuple[Tensor, dict[str, Tensor]]:
            squared = _floor(_dot(simulated, simulated))
            across = 1 / _floor((squared * squared_length).sqrt())
            cosine = _dot(simulated, sent) * across
            along = cosine / squared
            return 1 - cosine, {name: along * simulated[name] - across * target for name, target in sent.items()}

        return compare


@dataclass(frozen=True, kw_only=True)
class LayerwiseCosine:
    """The mean over tensors of 1 - <s_l, t_l> / (||s_l|| ||t_l||): every tensor counts the same, whatever its length."""

    def against(self, sent: Values) -> Comparison:
        layers = {name: Cosine().against({name: target}) for name, target in sent.items()}

        def compare(simulated: Values) -> tuple[Tensor, dict[str, Tensor]]:
            values, cotangents = [], {}
            for name, layer in layers.items():
                value, cotangent = layer({name: simulated[name]})
                values.append(value)
                cotangents[name] = cotangent[name] / len(layers)
            return torch.stack(values).mean(), cotangents

        return compare


@dataclass(frozen=True, kw_only=True)
class ChannelDistance:
    """The distance that somebody computes who knows the defense: the channel's negative log-likelihood."""

    channel: Channel

    def against(self, sent: Values) -> Comparison:
        def compare(simulated: Values) -> tuple[Tensor, dict[str, Tensor]]:
            leaves = {name: value.detach().requires_grad_() for name, value in simulated.items()}
            with torch.enable_grad():
                value = self.channel.distance(leaves, sent)
                slopes = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
            return value.detach(), dict(zip(leaves, slopes))

        return compare


def _dot(a: Values, b: Values) -> Tensor:
    return torch.stack([torch.dot(a[name].reshape(-1), b[name].reshape(-1)) for name in b]).sum()


def _total_magnitude(values: Values) -> Tensor:
    return torch.stack([value.abs().sum() for value in values.values()]).sum()


def _floor(value: Tensor) -> Tensor:
    """Keeps a vanishing length from dividing by zero; never reached by an update that says anything."""
    return value.clamp_min(torch.finfo(value.dtype).tiny)
