"""Cutting units out of a network: which of its units only few layers read, and the smaller network without some of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from gradiometer.core import SubModel, clone_model

from .recursion.activations import FUNCTIONS, METHODS
from .symbolic import symbolic

_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.GELU, nn.SiLU, nn.ELU, nn.SELU, nn.Softplus)
_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_PASSING = (*_ACTIVATIONS, *_POOLS, nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten)
_FUNCTIONS: set[Any] = {*FUNCTIONS, F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.dropout, F.dropout2d}
_SIZES: set[Any] = {getattr, "size"}


@dataclass(kw_only=True)
class Units:
    """The outputs of one layer, where nothing but other layers reads them, each unit its own columns.

    Args:
        layer: a convolution or linear layer.
        norms: batch normalization on the way, a channel a unit.
        readers: layers, and how many inputs in a row belong to one unit: more than one where a picture was flattened.
    """

    layer: str
    count: int
    norms: list[str] = field(default_factory=list)
    readers: dict[str, int] = field(default_factory=dict)


def units(model: nn.Module) -> list[Units]:
    """All units that can be cut out; those that are added, concatenated or mixed on the way cannot, nor can the outputs.

    Raises:
        NotApplicable: the control flow depends on the data.
    """
    return _Finder(model).found()


class _Finder:
    """Follows every layer's output through operations that keep units apart, to the layers that read it."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.groups = model, dict[str, Units]()
        self.source: dict[fx.Node, str] = {}
        self.graph = symbolic(model).graph
        uses = Counter(str(node.target) for node in self.graph.nodes if node.op == "call_module")
        self.shared = {name for name, count in uses.items() if count > 1} | _tied(model)

    def found(self) -> list[Units]:
        for node in self.graph.nodes:
            below = [self.source[one] for one in node.all_input_nodes if one in self.source]
            if len(below) == 1 and self._passes(node, self.groups[below[0]]):
                self.source[node] = below[0]
            elif node.target not in _SIZES and not (len(below) == 1 and self._reads(node, self.groups[below[0]])):
                for name in below:
                    self.groups.pop(name)
                self.source = {one: name for one, name in self.source.items() if name in self.groups}
            if (layer := self._layer(node)) is not None:
                self.groups[str(node.target)] = Units(layer=str(node.target), count=layer.weight.shape[0])
                self.source[node] = str(node.target)
        return [group for group in self.groups.values() if group.readers]

    def _module(self, node: fx.Node) -> nn.Module | None:
        if node.op != "call_module" or node.target in self.shared:
            return None
        return self.model.get_submodule(str(node.target))

    def _layer(self, node: fx.Node) -> nn.Linear | nn.Conv2d | None:
        module = self._module(node)
        return module if type(module) in (nn.Linear, nn.Conv2d) and getattr(module, "groups", 1) == 1 else None  # type: ignore[return-value]

    def _passes(self, node: fx.Node, group: Units) -> bool:
        """Whether the operation leaves every unit where it is."""
        module = self._module(node)
        if isinstance(module, _BatchNorm) and module.num_features == group.count:
            group.norms.append(str(node.target))
            return True
        if isinstance(module, nn.Flatten):
            return module.start_dim == 1
        if module is not None:
            return isinstance(module, _PASSING)
        if node.target in (torch.flatten, "flatten"):
            return node.args[1:] == (1,)
        if node.target in (torch.reshape, "reshape", "view"):
            return node.args[2:] == (-1,)
        if node.target in (torch.mean, "mean"):
            dims: Any = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
            return isinstance(dims, list | tuple) and {d % 4 for d in dims} == {2, 3} and "keepdim" not in node.kwargs
        return node.target in _FUNCTIONS or (node.op == "call_method" and node.target in METHODS)

    def _reads(self, node: fx.Node, group: Units) -> bool:
        """Whether this is a layer that reads every unit with columns of its own."""
        layer = self._layer(node)
        if layer is None:
            return False
        inputs, convolved = layer.weight.shape[1], isinstance(self.model.get_submodule(group.layer), nn.Conv2d)
        block = inputs // group.count
        flattens = convolved and isinstance(layer, nn.Linear)
        if block * group.count != inputs or (block > 1 and not flattens):
            return False
        group.readers[str(node.target)] = block
        return True


def _tied(model: nn.Module) -> set[str]:
    """Modules that share a parameter with another one."""
    uses = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    return {
        name for name, module in model.named_modules() if any(uses[id(p)] > 1 for p in module.parameters(recurse=False))
    }


def cut(model: nn.Module, kept: Mapping[str, Tensor], *, secret: bool = False) -> SubModel:
    """The network with these units alone, as a copy. What is read from units that are gone is gone with them.

    Args:
        kept: by layer, numbers of the units that stay, ascending. Layers that are not named stay whole.
    """
    small = clone_model(model)
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    places = {name: torch.arange(tensor.numel()).view(tensor.shape) for name, tensor in tensors.items()}
    for group in units(model):
        if group.layer not in kept:
            continue
        index = kept[group.layer]
        for name in (group.layer, *group.norms):
            for local in ("weight", "bias", "running_mean", "running_var"):
                _take(small, name, local, 0, index, places)
            _resize(small.get_submodule(name), ("out_features", "out_channels", "num_features"), len(index))
        for name, block in group.readers.items():
            columns = (index[:, None] * block + torch.arange(block)).flatten()
            _take(small, name, "weight", 1, columns, places)
            _resize(small.get_submodule(name), ("in_features", "in_channels"), len(columns))
    return SubModel(model=small, places=places, secret=secret)


def _take(model: nn.Module, owner: str, local: str, dim: int, index: Tensor, places: dict[str, Tensor]) -> None:
    """Replaces a parameter or buffer, if the module has it, by some of its slices."""
    module = model.get_submodule(owner)
    old = getattr(module, local, None)
    if old is None:
        return
    new = old.detach().index_select(dim, index.to(old.device))
    setattr(module, local, nn.Parameter(new, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else new)
    name = f"{owner}.{local}" if owner else local
    places[name] = places[name].index_select(dim, index)


def _resize(module: nn.Module, names: tuple[str, ...], size: int) -> None:
    for name in names:
        if hasattr(module, name):
            setattr(module, name, size)
