"""Max pooling in a traced network, brought in front of the activation below it.

For a function a that never falls, max(a(z)) = a(max(z)), and the derivatives by z agree too. So `a`, then max pooling, is
max pooling, then `a`: the activation's output is then the pooled map, which the layers above tell, its slopes are
decided by that map alone, and the pooling only routes derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .graph import Activation, MaxPool, Node

FUNCTIONS: set[Any] = {F.max_pool2d, torch.max_pool2d}


def of_module(module: nn.MaxPool2d, apply: Callable[..., Tensor], where: str) -> MaxPool | None:
    """The pooling, or None for one that also returns positions or pads its right edge."""
    if module.ceil_mode or module.return_indices:
        return None
    kernel, stride, padding, dilation = (
        (v, v) if isinstance(v, int) else (v[0], v[-1])
        for v in (module.kernel_size, module.stride, module.padding, module.dilation)
    )
    return MaxPool(apply=apply, where=where, kernel=kernel, stride=stride, padding=padding, dilation=dilation)


def of_function(
    rest: Sequence[Any], options: Mapping[str, Any], apply: Callable[..., Tensor], where: str
) -> MaxPool | None:
    """As `of_module`, for a call with these arguments behind the input."""
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
    given = {**dict(zip(names, rest)), **options}
    return of_module(nn.MaxPool2d(**{**given, "stride": given.get("stride") or None}), apply, where)


def first(nodes: Mapping[str, Node]) -> dict[str, Node]:
    """The same network, each max pooling standing in front of an activation that nothing else reads."""
    result = dict(nodes)
    for pool in nodes.values():
        if not isinstance(pool.operation, MaxPool):
            continue
        below = result[pool.inputs[0]]
        readers = [node.name for node in nodes.values() if below.name in node.inputs]
        if isinstance(below.operation, Activation) and readers == [pool.name] and _rises(below.operation):
            result[below.name] = replace(pool, name=below.name, inputs=below.inputs)
            result[pool.name] = replace(below, name=pool.name, inputs=(below.name,), shape=pool.shape)
    return result


def _rises(activation: Activation) -> bool:
    """Whether it never falls, tried on a fine grid."""
    return bool((activation.apply(torch.linspace(-10, 10, 4001, dtype=torch.float64)).diff() >= 0).all())
