"""Activations as functions of their own output: slope and inverse, which is all that a walk from the head needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .graph import Activation

Parts = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], bool]


def _everywhere(u: Tensor) -> Tensor:
    return torch.ones_like(u, dtype=torch.bool)


def _inside(u: Tensor, low: float) -> Tensor:
    """Where a saturating output is far enough from its limits to be inverted in the client's precision."""
    return (u > low + 1e-5) & (u < 1 - 1e-5)


def _relu() -> Parts:
    return (lambda u: (u > 0).to(u)), (lambda u: u), (lambda u: u > 0), True


def _leaky(slope: float) -> Parts:
    return (
        (lambda u: torch.where(u > 0, 1.0, slope).to(u)),
        (lambda u: torch.where(u > 0, u, u / slope)),
        _everywhere,
        True,
    )


def _sigmoid() -> Parts:
    tiny = 1e-15
    return (
        (lambda u: u * (1 - u)),
        (lambda u: torch.logit(u.clamp(tiny, 1 - tiny))),
        (lambda u: _inside(u, 0.0)),
        False,
    )


def _tanh() -> Parts:
    tiny = 1e-15
    return (
        (lambda u: 1 - u.square()),
        (lambda u: torch.atanh(u.clamp(-1 + tiny, 1 - tiny))),
        (lambda u: _inside(u, -1.0)),
        False,
    )


def _elu(alpha: float) -> Parts:
    return (
        (lambda u: torch.where(u > 0, 1.0, u + alpha).to(u)),
        (lambda u: torch.where(u > 0, u, torch.log1p((u / alpha).clamp(min=-1 + 1e-15, max=0)))),
        (lambda u: u > -alpha * (1 - 1e-5)),
        False,
    )


FUNCTIONS: dict[Any, str] = {
    torch.relu: "relu",
    torch.relu_: "relu",
    F.relu: "relu",
    F.leaky_relu: "leaky_relu",
    torch.sigmoid: "sigmoid",
    F.sigmoid: "sigmoid",
    torch.tanh: "tanh",
    F.tanh: "tanh",
    F.elu: "elu",
}
METHODS = {"relu": "relu", "relu_": "relu", "sigmoid": "sigmoid", "tanh": "tanh"}


def of_module(module: nn.Module, where: str) -> Activation | None:
    """The activation that this module is, or None."""
    if isinstance(module, nn.ReLU):
        return _made(torch.relu, _relu(), where)
    if isinstance(module, nn.LeakyReLU) and module.negative_slope > 0:
        slope = module.negative_slope
        return _made(lambda z: F.leaky_relu(z, slope), _leaky(slope), where)
    if isinstance(module, nn.Sigmoid):
        return _made(torch.sigmoid, _sigmoid(), where)
    if isinstance(module, nn.Tanh):
        return _made(torch.tanh, _tanh(), where)
    if isinstance(module, nn.ELU) and module.alpha > 0:
        alpha = module.alpha
        return _made(lambda z: F.elu(z, alpha), _elu(alpha), where)
    return None


def of_function(name: str, options: dict[str, Any], where: str) -> Activation | None:
    """The activation of this name with these options (`negative_slope`, `alpha`), or None."""
    if name == "leaky_relu":
        return of_module(nn.LeakyReLU(options.get("negative_slope", 0.01)), where)
    if name == "elu":
        return of_module(nn.ELU(options.get("alpha", 1.0)), where)
    known = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
    return of_module(known[name](), where)


def _made(function: Callable[[Tensor], Tensor], parts: Parts, where: str) -> Activation:
    slope, inverse, invertible, kinked = parts
    return Activation(apply=function, where=where, slope=slope, inverse=inverse, invertible=invertible, kinked=kinked)
