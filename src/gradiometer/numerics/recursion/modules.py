"""What torch's modules are in a graph: layers, normalization with fixed or own statistics, pooling, activations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from . import activations, own_norm, pools
from .graph import Affine, Layer, Norm, Opaque, Operation, Reshape

_POOLS = (nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.ZeroPad2d, nn.ConstantPad2d)
_LARGE = (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d)


def of_module(
    module: nn.Module, where: str, apply: Callable[..., Tensor], value: Tensor, names: Mapping[int, str]
) -> Operation | None:
    """The operation that a module is; None for one that changes nothing.

    Args:
        value: its output, for its shape; names: of parameters by their ids.
    """
    if isinstance(module, (nn.Identity, nn.Dropout, nn.Dropout2d)):
        return None
    if isinstance(module, (nn.Flatten, nn.Unflatten)):
        return reshape(value, where)
    if isinstance(module, _POOLS):
        return Affine(apply=apply, where=where)
    if isinstance(module, nn.MaxPool2d):
        return pools.of_module(module, apply, where) or Opaque(apply=apply, where=where)
    if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.running_var is not None:
        scale = 1 / torch.sqrt(module.running_var + module.eps)
        if module.weight is not None:
            scale = scale * module.weight
        return Norm(apply=apply, where=where, scale=scale, bias_name=names.get(id(module.bias)))
    if isinstance(module, (nn.GroupNorm, nn.LayerNorm)):
        return own_norm.of_module(module, where, names, value)
    if isinstance(module, nn.Linear):
        return _layer(module, where, apply, names)
    if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros":
        padding = module.padding
        if padding == "same":
            padding = tuple(d * (k - 1) // 2 for d, k in zip(module.dilation, module.kernel_size))
            if any(d * (k - 1) % 2 for d, k in zip(module.dilation, module.kernel_size)):
                return Opaque(apply=apply, where=where)
        elif padding == "valid":
            padding = (0, 0)
        assert isinstance(padding, tuple)
        return _layer(module, where, apply, names, stride=module.stride, padding=padding, dilation=module.dilation)
    return activations.of_module(module, where) or Opaque(apply=apply, where=where)


def outlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, or for a large module one that gives zeros of its output's shape: tracing asks for no more."""
    if type(function) not in _LARGE:
        return function
    assert isinstance(function, nn.Module)
    state = {name: value.to("meta") for name, value in function.state_dict().items()}

    def outline(x: Tensor) -> Tensor:
        return torch.zeros_like(functional_call(function, state, (x.to("meta"),)), device=x.device)

    return outline


def _layer(
    module: nn.Linear | nn.Conv2d,
    where: str,
    apply: Callable[..., Tensor],
    names: Mapping[int, str],
    *,
    stride: tuple[int, ...] = (),
    padding: tuple[int, ...] = (),
    dilation: tuple[int, ...] = (),
) -> Layer:
    return Layer(
        apply=apply,
        where=where,
        weight=module.weight.detach(),
        weight_name=names[id(module.weight)],
        bias=None if module.bias is None else module.bias.detach(),
        bias_name=names.get(id(module.bias)),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=getattr(module, "groups", 1),
    )


def reshape(value: Tensor, where: str) -> Reshape:
    """To the shape of this value, row by example."""
    shape = tuple(value.shape[1:])
    return Reshape(apply=lambda x: x.reshape(len(x), *shape), where=where)
