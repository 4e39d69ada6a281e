"""From the last exact tensor to the pixels: descent on the layers between, which are few and known.

    min_x mean_i ||f_i(x) - h_i||^2 / ||h_i||^2

Unlike gradient matching this needs first derivatives only, and the h_i hold many more numbers than x. Examples are
independent problems that share every evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gradiometer.numerics.lbfgs import descend

from .graph import Graph, Layer, Norm

STUCK = 1e-3
"""Relative error of the features above which a descent has not found the picture."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Inverted:
    """The pictures, the relative error of every example's features [n], and the evaluations used, an example each."""

    x: Tensor
    error: Tensor
    evaluations: int


def invert(
    graph: Graph,
    targets: Sequence[Mapping[str, Tensor]],
    *,
    rng: torch.Generator,
    evaluations: int,
    starts: int = 3,
    accuracy: float = 0.0,
    rescaled: bool = False,
) -> Inverted:
    """All examples at once, from small noise; not from gray, which is a kink of all ReLUs at once.

    Args:
        graph: in the precision to compute in; float32 is enough for 130 dB.
        targets: known tensors by name, values [n, *shape]. Those of the first entry are descended to together, from
            the start; those of the others from where the one before led.
        evaluations: upper limit, an example, start and target.
        starts: how many are tried where the descent gets stuck.
        accuracy: relative error of the first target.
        rescaled: the targets' scale is not known.
    """
    shape = graph.nodes[graph.input].shape
    first, *others = targets
    stuck, count = max(STUCK, 3 * accuracy), len(next(iter(first.values())))
    x = torch.zeros(count, *shape, dtype=graph.dtype)
    error, used = torch.full((count,), torch.inf, dtype=graph.dtype), 0
    for _ in range(starts):
        left = (error >= stuck).nonzero()[:, 0]
        if not len(left):
            break
        noise = (0.3 * torch.randn(len(left), *shape, generator=rng)).to(graph.dtype)
        found, there, spent = _toward(graph, first, left, noise, evaluations, rescaled)
        better = found < error[left]
        x[left[better]], error[left[better]], used = there[better], found[better], used + spent
    near = (error < stuck).nonzero()[:, 0]
    for finer in others if len(near) else ():
        error[near], x[near], spent = _toward(graph, finer, near, x[near], evaluations, rescaled)
        used += spent
    return Inverted(x=x, error=error, evaluations=used)


def _toward(
    graph: Graph, wanted: Mapping[str, Tensor], examples: Tensor, start: Tensor, evaluations: int, rescaled: bool
) -> tuple[Tensor, Tensor, int]:
    forward = fused(graph, list(wanted))
    values = [value[examples].to(graph.dtype).flatten(1) for value in wanted.values()]
    sizes = [value.square().sum(1).clamp_min(1e-30) for value in values]

    def distance(there: Tensor, value: Tensor, size: Tensor) -> Tensor:
        if rescaled:
            value, size = value * ((there * value).sum(1) / size)[:, None], there.square().sum(1).clamp_min(1e-30)
        return (there - value).square().sum(1) / size

    def objective(x: Tensor, numbers: Tensor) -> Tensor:
        parts = [
            distance(there.flatten(1), value[numbers], size[numbers])
            for there, value, size in zip(forward(x), values, sizes)
        ]
        return torch.stack(parts).mean(0)

    def finished(before: Tensor, now: Tensor) -> Tensor:
        return now > torch.where(now < STUCK**2, 0.9, 0.99) * before

    found = descend(objective, start, evaluations=evaluations, finished=finished)
    return found.value.sqrt(), found.x, found.evaluations


def fused(graph: Graph, wanted: Sequence[str]) -> Callable[[Tensor], list[Tensor]]:
    """The way from the input to some tensors, with normalization folded into the convolutions in front of it."""
    steps: dict[str, tuple[Callable[..., Tensor], tuple[str, ...]]] = {}
    needed = {node.name for name in wanted for node in graph.needed(name, graph.input)}
    for node in (node for name, node in graph.nodes.items() if name in needed):
        steps[node.name] = node.operation.apply, node.inputs
        below = graph.nodes[node.inputs[0]]
        layer, norm, alone = below.operation, node.operation, graph.consumers[below.name] == (node.name,)
        if (
            isinstance(norm, Norm)
            and isinstance(layer, Layer)
            and not layer.dense
            and alone
            and below.name not in wanted
        ):
            steps[node.name] = _folded(layer, norm), below.inputs
            steps.pop(below.name, None)

    def forward(x: Tensor) -> list[Tensor]:
        values = {graph.input: x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x}
        for name, (apply, inputs) in steps.items():
            values[name] = apply(*(values[i] for i in inputs))
        return [values[name] for name in wanted]

    return forward


def _folded(layer: Layer, norm: Norm) -> Callable[[Tensor], Tensor]:
    shift = norm.apply(layer.weight.new_zeros(1, len(layer.weight), 1, 1)).flatten()
    weight = (layer.weight * norm.scale[:, None, None, None]).contiguous(memory_format=torch.channels_last)
    bias = shift if layer.bias is None else shift + norm.scale * layer.bias
    return lambda x: F.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
