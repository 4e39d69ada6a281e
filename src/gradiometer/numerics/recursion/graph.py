"""The network as a graph of few operations, on tensors whose first dimension counts the examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

Pairs = tuple[int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Operation:
    """Anything that can be computed forward. The subclasses say what else is known of it.

    Args:
        apply: from the inputs to the output.
        where: the module or the function, for messages.
    """

    apply: Callable[..., Tensor]
    where: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Opaque(Operation):
    """An operation that the recursion cannot walk back through (attention, unknown functions)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Affine(Operation):
    """Affine in all inputs together, without trained parameters or with fixed ones: pooling, padding, slices, sums."""

    def pull(self, delta: Tensor, shapes: Sequence[tuple[int, ...]]) -> tuple[Tensor, ...]:
        """The transpose: derivatives by the inputs, given those by the output [n, ...]."""
        with torch.enable_grad():
            zeros = [delta.new_zeros(len(delta), *shape).requires_grad_() for shape in shapes]
            return torch.autograd.grad(self.apply(*zeros), zeros, delta, create_graph=delta.requires_grad)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sum(Affine):
    """Adds its inputs, which have the shape of the output: derivatives pass to every branch."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Shift(Affine):
    """Adds a trained parameter, to every entry of an example an entry of its own, as a position embedding.

    Args:
        name: of the parameter; entries: which of its entries, flattened, is added where [*shape of an example].
    """

    name: str
    entries: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Reshape(Affine):
    """Keeps the numbers and their order: values pass in both directions."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Norm(Affine):
    """Normalization with fixed statistics: `scale * x + shift` a channel.

    Args:
        scale: [channels], gamma / sqrt(variance + eps).
        bias_name: of beta, whose gradient is the sum of delta over examples and positions.
    """

    scale: Tensor
    bias_name: str | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer(Affine):
    """A trained convolution or dense layer. Dense layers see each entry of the middle dimensions as a position.

    Args:
        weight: [out, in / groups, *kernel], or [out, in] if dense.
        weight_name, bias_name: of its parameters.
        stride, padding, dilation, groups: of a convolution; `stride` is empty for dense layers.
        patchwise: whether it tiles its input, as a patch embedding: it is then a dense layer on patches.
    """

    weight: Tensor
    weight_name: str
    bias: Tensor | None = None
    bias_name: str | None = None
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    patchwise: bool = False

    @property
    def dense(self) -> bool:
        return not self.stride

    def tiles(self, shape: tuple[int, ...]) -> bool:
        """Whether it is a convolution that reads every pixel of its input [*shape] once."""
        kernel = tuple(self.weight.shape[2:])
        plain = self.groups == 1 and set(self.padding) == {0} and set(self.dilation) == {1}
        exact = all(size % step == 0 for size, step in zip(shape[1:], self.stride))
        return plain and exact and tuple(self.stride) == kernel and math.prod(kernel) > 1

    @property
    def offsets(self) -> int:
        """Equations that each output channel's gradient gives about each input channel (of patches, if patchwise)."""
        return 1 if self.patchwise else self.weight[0, 0].numel()

    def shifts(self) -> bool:
        """Whether its gradient has shift structure: a square odd kernel above 1, stride 1, padded to keep positions."""
        if self.dense or self.groups > 1:
            return False
        kernel = self.weight.shape[2:]
        return (
            set(self.stride) == {1}
            and set(self.dilation) == {1}
            and all(k % 2 == 1 and k > 1 and p == k // 2 for k, p in zip(kernel, self.padding))
        )

    def pull(self, delta: Tensor, shapes: Sequence[tuple[int, ...]]) -> tuple[Tensor, ...]:
        """The transpose, without autograd's overhead."""
        if self.dense:
            return (delta @ self.weight,)
        size = (len(delta), *shapes[0])
        return (conv2d_input(size, self.weight, delta, self.stride, self.padding, self.dilation, self.groups),)

    def linear(self, value: Tensor) -> Tensor:
        """The layer without its bias."""
        if self.dense:
            return value @ self.weight.T
        return F.conv2d(value, self.weight, None, self.stride, self.padding, self.dilation, self.groups)


@dataclass(frozen=True, kw_only=True, eq=False)
class Activation(Operation):
    """A function of each entry alone.

    Args:
        slope: derivative as a function of the output.
        inverse: the input as a function of the output, where `invertible(output)` holds.
        kinked: piecewise linear with the kink at zero, so that the sign of the output decides the slope.
        twin: where an output has a second input: from outputs to the slopes there, and to the prices in log-likelihood of
            taking them (infinite where there is none).
    """

    slope: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]
    invertible: Callable[[Tensor], Tensor]
    kinked: bool
    twin: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None

    @property
    def cuts(self) -> bool:
        """Whether negative inputs become zeros."""
        return self.kinked and float(self.slope(torch.tensor(-1.0))) == 0


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxPool(Operation):
    """The largest entry of every window: derivatives pass to that position alone.

    Args:
        kernel, stride, padding, dilation: height and width.
    """

    kernel: Pairs
    stride: Pairs
    padding: Pairs
    dilation: Pairs

    def members(self, size: Pairs) -> Tensor:
        """The positions of every window of a map of this size, height * width flattened [window, windows]; -1: padding."""
        place = torch.arange(1.0, math.prod(size) + 1, dtype=torch.float64).reshape(1, 1, *size)
        return F.unfold(place, self.kernel, self.dilation, self.padding, self.stride)[0].long() - 1

    def routes(self, value: Tensor) -> Tensor:
        """Which position each window takes its entry from, height * width flattened [n, channels, *windows]."""
        options = self.stride, self.padding, self.dilation
        return F.max_pool2d(value, self.kernel, *options, return_indices=True)[1]

    @staticmethod
    def pull(delta: Tensor, routes: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Derivatives by the input [n, *shape], given those by the output."""
        below = delta.new_zeros(len(delta), shape[0], math.prod(shape[1:]))
        return below.scatter_add_(2, routes.flatten(2), delta.flatten(2)).reshape(-1, *shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """One tensor of the network: the operation that makes it, the tensors it is made of, and its shape an example."""

    name: str
    operation: Operation
    inputs: tuple[str, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """All tensors in an order in which each comes after those that it is made of; the first one is the input."""

    nodes: Mapping[str, Node]
    input: str
    output: str
    dtype: torch.dtype
    consumers: Mapping[str, tuple[str, ...]] = field(init=False)

    def __post_init__(self) -> None:
        found: dict[str, list[str]] = {name: [] for name in self.nodes}
        for node in self.nodes.values():
            for name in dict.fromkeys(node.inputs):
                found[name].append(node.name)
        object.__setattr__(self, "consumers", {name: tuple(names) for name, names in found.items()})

    def shapes(self, node: Node) -> list[tuple[int, ...]]:
        """Of the node's inputs."""
        return [self.nodes[name].shape for name in node.inputs]

    def layers(self) -> list[Node]:
        """All trained convolutions and dense layers, the input's side first."""
        return [node for node in self.nodes.values() if isinstance(node.operation, Layer)]

    def forward(self, x: Tensor, wanted: str, *, start: str | None = None) -> Tensor:
        """The tensor `wanted`, given `start` (the input) as `x`."""
        start = start or self.input
        values = {start: x}
        for node in self.needed(wanted, start):
            values[node.name] = node.operation.apply(*(values[name] for name in node.inputs))
        return values[wanted]

    def needed(self, wanted: str, start: str) -> list[Node]:
        """What has to be computed on the way from `start` to `wanted`, in order."""
        need, order = {wanted}, []
        for node in reversed(list(self.nodes.values())):
            if node.name in need and node.name != start:
                order.append(node)
                need.update(node.inputs)
        return order[::-1]
