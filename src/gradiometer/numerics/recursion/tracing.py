"""From any module to a `Graph`: symbolic tracing, normalization folded, names of parameters kept."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from gradiometer.core import NotApplicable, clone_model
from gradiometer.numerics.symbolic import symbolic

from . import activations, averages, modules, pools
from .concat import Concat
from .graph import Affine, Graph, Layer, Node, Opaque, Operation, Shift, Sum
from .loose import Loose, entries, holds_tensors

_RESHAPES: set[Any] = {torch.flatten, torch.reshape, torch.squeeze, torch.unsqueeze}
_RESHAPES |= {"flatten", "unflatten", "reshape", "view", "squeeze", "unsqueeze", "contiguous"}
_SUMS: set[Any] = {operator.add, operator.iadd, torch.add, "add", "add_"}
_AFFINE: set[Any] = {torch.mean, F.avg_pool2d, F.adaptive_avg_pool2d, F.pad, torch.cat, torch.permute, torch.transpose}
_AFFINE |= {operator.getitem, torch.sum, operator.sub, operator.neg, "mean", "sum", "permute", "transpose"}
_AFFINE |= {torch.chunk, torch.split, torch.unbind, "chunk", "split", "unbind"}
_SAME: set[Any] = {F.dropout, F.dropout2d, "clone", "detach_"}


def trace(model: nn.Module, shape: tuple[int, ...], *, dtype: torch.dtype = torch.float64) -> Graph:
    """The graph of a model with one input, in eval mode, its weights in `dtype`.

    Args:
        shape: of one example.

    Raises:
        NotApplicable: the control flow depends on the data, or the model does not take such an input.
    """
    model = clone_model(model).eval().to(dtype)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    names = {id(p): name for name, p in model.named_parameters()}
    reader = _Reader(model=symbolic(model), names=names)
    return reader.read(torch.zeros(2, *shape, dtype=dtype))


class _Reader:
    """Runs the traced graph once on zeros and writes down every tensor whose first dimension counts the examples."""

    def __init__(self, *, model: fx.GraphModule, names: Mapping[int, str]) -> None:
        self.model, self.names = model, names
        self.values: dict[str, Any] = {}
        self.alias: dict[str, str] = {}
        self.loose: dict[str, Loose] = {}
        self.nodes: dict[str, Node] = {}

    def read(self, x: Tensor) -> Graph:
        inputs = [node.name for node in self.model.graph.nodes if node.op == "placeholder"]
        output = ""
        for node in self.model.graph.nodes:
            if node.op == "output":
                (result,) = node.args
                output = self.alias.get(getattr(result, "name", ""), "")
            else:
                self._add(node, x if inputs[0] == node.name else None)
        if output not in self.nodes:
            raise NotApplicable(f"{type(self.model).__name__} does not return one tensor, row by example")
        return Graph(
            nodes=averages.first(pools.first(_completed(self.nodes))), input=inputs[0], output=output, dtype=x.dtype
        )

    def _add(self, node: fx.Node, x: Tensor | None) -> None:
        if node.op == "placeholder":
            self.values[node.name] = x if x is not None else (node.args[0] if node.args else None)
            if x is not None:
                self._write(node.name, Operation(apply=lambda: x, where=node.name), ())
            return
        function = self._function(node)
        arguments = fx.node.map_arg((node.args, node.kwargs), lambda n: self.values[n.name])
        try:
            value = modules.outlined(function)(*arguments[0], **arguments[1])
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise NotApplicable(f"{node.target} does not take this input: {str(error).splitlines()[0]}") from error
        self.values[node.name] = value
        below = [self.loose[n.name] for n in node.all_input_nodes if n.name in self.loose]
        direct = [n for n in node.all_input_nodes if n.name in self.alias]
        tensors = list(dict.fromkeys([*direct, *(source for loose in below for source in loose.sources)]))
        if not (isinstance(value, Tensor) and tensors and value.ndim > 1 and len(value) == 2):
            if tensors or below:
                affine = node.target in _AFFINE | _RESHAPES and all(loose.affine for loose in below)
                self.loose[node.name] = Loose(sources=tensors if holds_tensors(value) else [], affine=affine)
            return
        apply = self._rebuilt(node, function, tensors)
        entangled = not all(loose.affine for loose in below if loose.sources)
        where = getattr(node.target, "__name__", str(node.target))
        operation = Opaque(apply=apply, where=where) if entangled else self._classify(node, apply, tensors, value)
        if operation is None:
            self.alias[node.name] = self.alias[tensors[0].name]
        else:
            self._write(node.name, operation, tuple(self.alias[n.name] for n in tensors))

    def _write(self, name: str, operation: Operation, inputs: tuple[str, ...]) -> None:
        self.alias[name] = name
        self.nodes[name] = Node(name=name, operation=operation, inputs=inputs, shape=tuple(self.values[name].shape[1:]))

    def _function(self, node: fx.Node) -> Callable[..., Any]:
        if node.op == "call_module":
            return self.model.get_submodule(str(node.target))
        if node.op == "get_attr":
            return lambda: operator.attrgetter(str(node.target))(self.model)
        if node.op == "call_method":
            return lambda owner, *rest, **options: getattr(owner, str(node.target))(*rest, **options)
        assert callable(node.target)
        return node.target

    def _rebuilt(self, node: fx.Node, function: Callable[..., Any], tensors: list[fx.Node]) -> Callable[..., Tensor]:
        """The operation as a function of its tensors alone, everything else being fixed."""

        def apply(*inputs: Tensor) -> Tensor:
            given = dict(zip((n.name for n in tensors), inputs))
            args, options = fx.node.map_arg((node.args, node.kwargs), lambda n: self._again(n, given))
            return function(*args, **options)

        return apply

    def _again(self, node: fx.Node, given: Mapping[str, Tensor]) -> Any:
        """A value for other examples; a tensor that is not given is asked for its size alone."""
        if node.name in given:
            return given[node.name]
        if node.name in self.alias:
            return self.values[node.name][:1].expand(len(next(iter(given.values()))), *self.values[node.name].shape[1:])
        if node.name not in self.loose:
            return self.values[node.name]
        args, options = fx.node.map_arg((node.args, node.kwargs), lambda n: self._again(n, given))
        return self._function(node)(*args, **options)

    def _classify(
        self, node: fx.Node, apply: Callable[..., Tensor], tensors: list[fx.Node], value: Tensor
    ) -> Operation | None:
        """What the operation is; None for one that changes nothing."""
        where = str(node.target) if node.op == "call_module" else getattr(node.target, "__name__", str(node.target))
        before = self.values[tensors[0].name]
        if node.op == "call_module":
            return modules.of_module(self.model.get_submodule(str(node.target)), where, apply, value, self.names)
        target = node.target
        if target in _SAME:
            return None
        if target in _RESHAPES:
            return modules.reshape(value, where)
        if target in pools.FUNCTIONS:
            return pools.of_function(node.args[1:], node.kwargs, apply, where) or Opaque(apply=apply, where=where)
        if target in _SUMS and all(self.values[n.name].shape == value.shape for n in tensors):
            return Sum(apply=apply, where=where) if len(tensors) > 1 else self._shift(node, apply, value, where)
        name = activations.FUNCTIONS.get(target) or (
            activations.METHODS.get(str(target)) if node.op == "call_method" else None
        )
        if name is not None:
            options = dict(node.kwargs)
            options.update(zip(activations.OPTIONS.get(name, ()), node.args[1:]))
            return activations.of_function(name, options, where) or Opaque(apply=apply, where=where)
        if target is torch.cat and (node.kwargs.get("dim") or [*node.args, 0][1]) in {1, 1 - value.ndim}:
            return Concat(apply=apply, where=where)
        constant = all(isinstance(a, (int, float)) for a in node.args if a not in tensors)
        scaling = target in {operator.mul, operator.truediv, torch.mul, torch.div} and len(tensors) == 1 and constant
        if (target in _AFFINE or scaling) and _is_affine(
            apply, before, len(tensors), [self.values[n.name] for n in tensors]
        ):
            return Affine(apply=apply, where=where)
        return Opaque(apply=apply, where=where)

    def _shift(self, node: fx.Node, apply: Callable[..., Tensor], value: Tensor, where: str) -> Affine:
        """A sum with something constant, which may be a trained parameter."""
        constants = [n for n in node.all_input_nodes if n.name not in self.alias]
        found = entries(constants[0], self.values, self._function, value.shape[1:]) if len(constants) == 1 else None
        name = None if found is None else self.names.get(id(self.values[found[0]]))
        if found is None or name is None:
            return Affine(apply=apply, where=where)
        return Shift(apply=apply, where=where, name=name, entries=found[1])


def _is_affine(apply: Callable[..., Tensor], before: Tensor, count: int, values: list[Tensor]) -> bool:
    """Whether examples stay apart and f(a + b) - f(b) = f(a) - f(0), tried on a fixed pattern with two examples."""
    ramp = [torch.arange(v.numel(), dtype=v.dtype).reshape(v.shape).sin() for v in values]
    swapped = [r.flip(0) for r in ramp]
    zero = [torch.zeros_like(r) for r in ramp]
    total = apply(*(a + b for a, b in zip(ramp, swapped)))
    same = torch.allclose(total + apply(*zero), apply(*ramp) + apply(*swapped), atol=1e-9)
    return same and torch.allclose(apply(*swapped), apply(*ramp).flip(0), atol=1e-12)


def _completed(nodes: dict[str, Node]) -> dict[str, Node]:
    """Marks layers on patches, and hides those that share weights: their summed gradient does not tell them apart."""
    uses = Counter(n.operation.weight_name for n in nodes.values() if isinstance(n.operation, Layer))
    result = {}
    for name, node in nodes.items():
        operation = node.operation
        if isinstance(operation, Layer) and uses[operation.weight_name] > 1:
            shared = f"{operation.where} (its weights are used {uses[operation.weight_name]} times)"
            node = Node(
                name=name, operation=Affine(apply=operation.apply, where=shared), inputs=node.inputs, shape=node.shape
            )
        elif isinstance(operation, Layer) and operation.tiles(nodes[node.inputs[0]].shape):
            node = replace(node, operation=replace(operation, patchwise=True))
        result[name] = node
    return result
