"""Activations as functions of their own output: slope and inverse, which is all that a walk from the head needs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .dipped import Dipped
from .graph import Activation

Parts = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], bool]


def _everywhere(u: Tensor) -> Tensor:
    return torch.ones_like(u, dtype=torch.bool)


def _inside(u: Tensor, low: float) -> Tensor:
    """Where a saturating output is far enough from its limits to be inverted in the client's precision."""
    return (u > low + 1e-5) & (u < 1 - 1e-5)


def _relu() -> Parts:
    return (lambda u: (u > 0).to(u)), (lambda u: u), (lambda u: u > 0), True


def _relu6() -> Parts:
    return (lambda u: ((u > 0) & (u < 6)).to(u)), (lambda u: u), (lambda u: (u > 0) & (u < 6 - 1e-5)), True


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


def _elu(alpha: float, scale: float = 1.0, rate: float = 1.0) -> Parts:
    """scale * (z, or alpha * (exp(rate z) - 1) below zero)."""
    return (
        (lambda u: torch.where(u > 0, scale, rate * (u + scale * alpha)).to(u)),
        (
            lambda u: torch.where(
                u > 0, u / scale, torch.log1p((u / (scale * alpha)).clamp(min=-1 + 1e-15, max=0)) / rate
            )
        ),
        (lambda u: u > -scale * alpha * (1 - 1e-5)),
        False,
    )


def _softplus(beta: float) -> Parts:
    tiny = 1e-15
    return (
        (lambda u: -torch.expm1(-beta * u.clamp_min(0))),
        (lambda u: u + torch.log(-torch.expm1(-beta * u.clamp_min(tiny))) / beta),
        (lambda u: beta * u > 1e-5),
        False,
    )


def _clipped(low: float, high: float, slope: float) -> Parts:
    """Linear between two limits, constant beyond."""
    margin, offset = 1e-5 * (high - low), 0.5 if slope != 1 else 0.0

    def inside(u: Tensor) -> Tensor:
        return (u > low + margin) & (u < high - margin)

    return (lambda u: slope * inside(u).to(u)), (lambda u: (u - offset) / slope), inside, False


def _softsign() -> Parts:
    return (
        (lambda u: (1 - u.abs()).clamp_min(0).square()),
        (lambda u: u / (1 - u.abs()).clamp_min(1e-15)),
        (lambda u: _inside(u.abs(), -1.0)),
        False,
    )


FUNCTIONS: dict[Any, str] = {
    torch.relu: "ReLU",
    torch.relu_: "ReLU",
    F.relu: "ReLU",
    F.relu6: "ReLU6",
    F.leaky_relu: "LeakyReLU",
    torch.sigmoid: "Sigmoid",
    F.sigmoid: "Sigmoid",
    torch.tanh: "Tanh",
    F.tanh: "Tanh",
    F.elu: "ELU",
    F.selu: "SELU",
    F.celu: "CELU",
    F.gelu: "GELU",
    F.silu: "SiLU",
    F.mish: "Mish",
    F.softplus: "Softplus",
    F.softsign: "Softsign",
    F.hardtanh: "Hardtanh",
    F.hardsigmoid: "Hardsigmoid",
}
METHODS = {"relu": "ReLU", "relu_": "ReLU", "sigmoid": "Sigmoid", "tanh": "Tanh"}
OPTIONS = {
    "LeakyReLU": ("negative_slope",),
    "ELU": ("alpha",),
    "CELU": ("alpha",),
    "Softplus": ("beta", "threshold"),
    "Hardtanh": ("min_val", "max_val"),
    "GELU": ("approximate",),
}
"""Names of an activation's settings, in order."""


def of_module(module: nn.Module, where: str) -> Activation | None:
    """The activation that this module is, or None."""
    parts = _parts(module)
    if parts is not None:
        slope, inverse, invertible, kinked = parts
        function = _function(module)
        return Activation(
            apply=function, where=where, slope=slope, inverse=inverse, invertible=invertible, kinked=kinked
        )
    if isinstance(module, (nn.GELU, nn.SiLU, nn.Mish)):
        both = Dipped(_function(module))
        return Activation(
            apply=both.function,
            where=where,
            slope=both.slope,
            inverse=both.right,
            invertible=lambda u: u > 1e-6,
            kinked=False,
            twin=both.twin,
        )
    return None


def of_function(name: str, options: Mapping[str, Any], where: str) -> Activation | None:
    """The activation of this name in `torch.nn` with these options, or None."""
    return of_module(getattr(nn, name)(**{key: options[key] for key in OPTIONS.get(name, ()) if key in options}), where)


def _function(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """What it computes, never in place."""
    fresh = copy.copy(module)
    if hasattr(fresh, "inplace"):
        vars(fresh)["inplace"] = False
    return fresh


def _parts(module: nn.Module) -> Parts | None:
    """Slope, inverse, where it may be inverted, and whether it is kinked; None for what is not monotone or not known."""
    if isinstance(module, nn.ReLU):
        return _relu()
    if isinstance(module, nn.ReLU6):
        return _relu6()
    if isinstance(module, nn.LeakyReLU) and module.negative_slope > 0:
        return _leaky(module.negative_slope)
    if isinstance(module, nn.PReLU) and module.weight.numel() == 1 and float(module.weight.detach()) > 0:
        return _leaky(float(module.weight.detach()))
    if isinstance(module, nn.Sigmoid):
        return _sigmoid()
    if isinstance(module, nn.Tanh):
        return _tanh()
    if isinstance(module, nn.ELU) and module.alpha > 0:
        return _elu(float(module.alpha))
    if isinstance(module, nn.SELU):
        return _elu(1.6732632423543772, scale=1.0507009873554805)
    if isinstance(module, nn.CELU) and module.alpha > 0:
        return _elu(float(module.alpha), rate=1 / module.alpha)
    if isinstance(module, nn.Softplus):
        return _softplus(float(module.beta))
    if isinstance(module, nn.Softsign):
        return _softsign()
    if isinstance(module, nn.Hardtanh):
        return _clipped(float(module.min_val), float(module.max_val), 1.0)
    if isinstance(module, nn.Hardsigmoid):
        return _clipped(0.0, 1.0, 1 / 6)
    return None
