"""From a module to a `Program`: torch.fx writes the calls down, and every call gets the rule that is known for it."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from gradiometer.core import NotApplicable
from gradiometer.numerics.symbolic import symbolic

from . import elementwise, layers
from .fixed import MaxPooled, Product, Softmax
from .maps import Linear, Permuted, Reshape, Sum, Times
from .program import Program
from .rule import Local, Rule, Slot, Source

_RESHAPES: set[Any] = {torch.flatten, torch.reshape, torch.squeeze, torch.unsqueeze}
_RESHAPES |= {"flatten", "unflatten", "reshape", "view", "squeeze", "unsqueeze", "contiguous"}
_SUMS: set[Any] = {operator.add, operator.iadd, torch.add, "add", "add_"}
_LINEAR: set[Any] = {torch.mean, torch.sum, F.avg_pool2d, F.adaptive_avg_pool2d, torch.cat}
_LINEAR |= {operator.getitem, operator.neg, "mean", "sum", "expand", "chunk"}
_LINEAR |= {torch.chunk, torch.split, torch.unbind, "split", "unbind"}
_PERMUTATIONS: set[Any] = {torch.permute, torch.transpose, "permute", "transpose"}
_SCALINGS: set[Any] = {operator.mul, operator.truediv, torch.mul, torch.div}
_PRODUCTS: set[Any] = {operator.matmul, torch.matmul, torch.bmm, "matmul"}
_CURVES: dict[Any, str] = {torch.sigmoid: "sigmoid", F.sigmoid: "sigmoid", torch.tanh: "tanh", F.tanh: "tanh"}
_CURVES |= {F.gelu: "gelu", F.silu: "silu", "sigmoid": "sigmoid", "tanh": "tanh"}
_CURVES |= {nn.Sigmoid: "sigmoid", nn.Tanh: "tanh", nn.GELU: "gelu", nn.SiLU: "silu"}
_SAME = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


def capture(model: nn.Module, x: Tensor, names: frozenset[str], *, ghosts: bool) -> Program:
    """The program of a model, for inputs of the shape and precision of `x`.

    Args:
        model: in the client's mode; it is not written to.
        names: parameters whose gradients were sent.
        ghosts: whether weight gradients need not be formed.

    Raises:
        NotApplicable: the model draws at random, takes several inputs, or cannot be written down.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.training and module.p > 0:
            raise NotApplicable(f"{name} draws its masks at random")
    traced = symbolic(model)
    reader = _Reader(model=traced, names={id(p): n for n, p in model.named_parameters() if n in names}, ghosts=ghosts)
    with torch.no_grad():
        return reader.read(x)


@dataclass(kw_only=True, eq=False)
class _Reader:
    """Runs the calls once and gives every one that depends on the input or on a sent parameter a rule."""

    model: fx.GraphModule
    names: Mapping[int, str]
    ghosts: bool
    values: dict[str, Any] = field(default_factory=dict)
    number: dict[str, int] = field(default_factory=dict)
    several: dict[str, tuple[Callable[..., Any], list[str], bool]] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    inputs: list[tuple[int, ...]] = field(default_factory=list)
    watched: dict[str, int] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)

    def read(self, x: Tensor) -> Program:
        nodes = list(self.model.graph.nodes)
        given = [node for node in nodes if node.op == "placeholder"]
        self.calls = Counter(node.target for node in nodes if node.op == "call_module")
        self.uses = Counter(
            id(p)
            for target, n in self.calls.items()
            for p in self.model.get_submodule(str(target)).parameters()
            for _ in range(n)
        )
        self.uses.update(id(operator.attrgetter(str(n.target))(self.model)) for n in nodes if n.op == "get_attr")
        for node in nodes:
            if node.op == "output":
                (result,) = node.args
                if self.number.get(getattr(result, "name", "")) != len(self.rules):
                    raise NotApplicable("the model's output is not its last tensor")
            elif node.op == "placeholder":
                self.values[node.name] = x if node is given[0] else (node.args[0] if node.args else None)
                if node is given[0]:
                    self.number[node.name] = 0
            else:
                self._add(node)
        return Program(rules=self.rules, inputs=self.inputs, watched=self.watched)

    def _add(self, node: fx.Node) -> None:
        if node.op == "get_attr":
            value = self.values[node.name] = operator.attrgetter(str(node.target))(self.model)
            if id(value) in self.names:
                self.number[node.name] = self._source(value)
            return
        live = list(dict.fromkeys(n for n in node.all_input_nodes if n.name in self.number or n.name in self.several))
        call = self._call(node, [n.name for n in live])
        value = self.values[node.name] = call(*(self.values[n.name] for n in live))
        if isinstance(value, (tuple, list)) and live and any(isinstance(entry, Tensor) for entry in value):
            if node.op == "call_module" and self._trained(self.model.get_submodule(str(node.target))):
                raise NotApplicable(f"{node.target} has weights and returns several tensors")
            self.several[node.name] = (call, [n.name for n in live], node.target in _LINEAR)
            return
        module = self.model.get_submodule(str(node.target)) if node.op == "call_module" else None
        if self._trained(module) and (len(live) != 1 or len(node.args) != 1 or node.kwargs):
            raise NotApplicable(f"{node.target} has weights and does not take one tensor alone")
        if module is not None and live and live[0].name in self.number:
            self.watched.setdefault(str(node.target), self.number[live[0].name])
        if not isinstance(value, Tensor) or not live:
            return
        if live and live[0].name in self.several:  # an entry of a tuple: computed from what the tuple came from
            before, names, linear = self.several[live[0].name]
            last = call

            def whole(*given: Any) -> Tensor:
                return last(before(*given))

            self._write(node, Linear(whole) if linear else Local(whole), [self.number[n] for n in names])
            return
        if any(n.name in self.several for n in live):
            raise NotApplicable(f"{node.target} takes several tensors in one")
        numbers = [self.number[n.name] for n in live]
        rule = self._of_module(module, call, value, live) if module is not None else self._of_function(node, call, live)
        if isinstance(rule, (Linear, Local)) and not _depends(call, [self.values[n.name] for n in live]):
            return  # sizes and flags made of a tensor are constants
        if rule is None:
            self.number[node.name] = numbers[0]
        elif isinstance(rule, list):
            for part in rule:
                self._write(node, part, numbers)
                numbers = [self.number[node.name]]
        else:
            if isinstance(rule, layers.Weighted):
                numbers += [self._source(p) for p in rule.parameters]
            self._write(node, rule, numbers)

    def _write(self, node: fx.Node, rule: Rule, numbers: list[int]) -> None:
        self.rules.append(rule)
        self.inputs.append(tuple(numbers))
        self.number[node.name] = len(self.rules)

    def _source(self, parameter: Tensor) -> int:
        name = self.names[id(parameter)]
        if name not in self.sources:
            self.rules.append(Source(Slot(name=name, value=parameter.detach())))
            self.inputs.append(())
            self.sources[name] = len(self.rules)
        return self.sources[name]

    def _trained(self, module: nn.Module | None) -> bool:
        return module is not None and any(id(p) in self.names for p in module.parameters())

    def _call(self, node: fx.Node, live: list[str]) -> Callable[..., Any]:
        """The call as a function of its live inputs, everything else being fixed."""
        function: Callable[..., Any]
        if node.op == "call_module":
            function = self.model.get_submodule(str(node.target))
        elif node.op == "call_method":
            target = str(node.target)

            def function(owner: Any, *rest: Any, **options: Any) -> Any:
                return getattr(owner, target)(*rest, **options)
        else:
            function = node.target  # type: ignore[assignment]

        def call(*given: Any) -> Any:
            there = dict(zip(live, given))
            args, options = fx.node.map_arg(
                (node.args, node.kwargs), lambda n: there[n.name] if n.name in there else self.values[n.name]
            )
            return function(*args, **options)

        return call

    def _of_module(
        self, module: nn.Module, call: Callable[..., Tensor], value: Tensor, live: list[fx.Node]
    ) -> Rule | list[Rule] | None:
        before = self.values[live[0].name]
        once = all(self.uses[id(p)] == 1 for p in module.parameters())
        if isinstance(module, _SAME):
            return None
        if isinstance(module, (nn.Flatten, nn.Unflatten)):
            return Reshape(call)
        if isinstance(module, (nn.ReLU, nn.LeakyReLU)):
            return elementwise.Kinked(getattr(module, "negative_slope", 0.0))
        if type(module) in _CURVES and getattr(module, "approximate", "none") == "none":
            return elementwise.Smooth(elementwise.CURVES[_CURVES[type(module)]])
        if isinstance(module, nn.MaxPool2d) and not module.return_indices and before.ndim == 4:
            return MaxPooled(module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode)
        if isinstance(module, (nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.ZeroPad2d)):
            return Linear(call)
        if isinstance(module, nn.Softmax) and module.dim in {-1, before.ndim - 1}:
            return Softmax()
        if once:
            known = layers.of(module, before, value, self.names, ghosts=self.ghosts)
            if known is not None:
                return known
        if any(isinstance(m, _BatchNorm) and (m.training or m.running_mean is None) for m in module.modules()):
            raise NotApplicable(f"{type(module).__name__} in train mode has no rule")
        trained = {n: p for n, p in module.named_parameters() if id(p) in self.names}
        if not trained:
            return Local(call)
        return layers.Weighted(
            lambda x, *weights: functional_call(module, dict(zip(trained, weights)), (x,)), list(trained.values())
        )

    def _of_function(self, node: fx.Node, call: Callable[..., Tensor], live: list[fx.Node]) -> Rule | None:
        target: Any = node.target
        if target in {F.dropout, F.dropout2d}:
            training = dict(zip(("p", "training"), node.args[1:])) | dict(node.kwargs)
            if training.get("training", True) and training.get("p", 0.5):
                raise NotApplicable("dropout draws its masks at random")
            return None
        constant = not any(isinstance(self.values.get(n.name), Tensor) for n in node.all_input_nodes if n not in live)
        if target in _RESHAPES:
            return Reshape(call)
        if target in _SUMS and "alpha" not in node.kwargs and not (len(live) == 1 and node.args[0] is node.args[1]):
            return Sum(call)
        if target in _PERMUTATIONS:
            return Permuted(_order(call, self.values[live[0].name].ndim))
        if target in _LINEAR and constant:
            return Linear(call)
        if target in _SCALINGS and len(live) == 1 and constant and node.args[0] is live[0]:
            factor = node.args[1]
            if isinstance(factor, (int, float)):
                return Times(1 / factor if target in {operator.truediv, torch.div} else factor)
            return Linear(call)
        if target in _PRODUCTS and len(live) == 2 and self._alike(live):
            return Product()
        if target in {torch.relu, F.relu, "relu", torch.relu_, "relu_"}:
            return elementwise.Kinked()
        if target in _CURVES and not node.kwargs and len(node.args) == 1:
            return elementwise.Smooth(elementwise.CURVES[_CURVES[target]])
        if target in {torch.softmax, F.softmax, "softmax"} and self._last_dimension(node):
            return Softmax()
        return Local(call)

    def _alike(self, live: list[fx.Node]) -> bool:
        first, second = (self.values[n.name].shape for n in live)
        return len(first) == len(second) and first[:-2] == second[:-2] and len(first) > 1

    def _last_dimension(self, node: fx.Node) -> bool:
        dim = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
        return dim in {-1, self.values[node.name].ndim - 1} and "dtype" not in node.kwargs


def _depends(call: Callable[..., Tensor], inputs: list[Tensor]) -> bool:
    """Whether the result can be differentiated by the inputs."""
    with torch.enable_grad():
        return call(*(value.detach().requires_grad_() for value in inputs)).requires_grad


def _order(call: Callable[..., Tensor], dims: int) -> tuple[int, ...]:
    """What a call that permutes dimensions does, read off a tensor whose sizes are all different."""
    return tuple(size - 1 for size in call(torch.empty(tuple(range(1, dims + 1)), device="meta")).shape)
