"""The forward pass of a model written down as a graph of calls, whatever it checks about its input's type."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from gradiometer.core import NotApplicable


class _Stand(fx.Proxy):
    """A stand-in that passes for a tensor where a model checks the types of what it is given."""

    __class__ = property(lambda self: Tensor)


class _Tracer(fx.Tracer):
    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Stand(node, self)

    def create_arg(self, a: Any) -> Any:
        return a.node if issubclass(type(a), fx.Proxy) else super().create_arg(a)


@contextmanager
def _recorded_functions() -> Iterator[None]:
    """Inside, custom autograd functions write their call down as well: torch's own code crashes on a stand-in."""
    function, apply = torch.autograd.Function, vars(torch.autograd.Function)["apply"]

    def record(cls: type, *arguments: Any, **options: Any) -> Any:
        stands = [argument for argument in arguments if type(argument) is _Stand]
        call = apply.__get__(None, cls)
        return stands[0].tracer.create_proxy("call_function", call, arguments, options) if stands else call(*arguments)

    function.apply = classmethod(record)  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        function.apply = apply  # type: ignore[method-assign]


def symbolic(model: nn.Module) -> fx.GraphModule:
    """The calls that the model makes, in order; torch's own modules are single calls.

    Raises:
        NotApplicable: the control flow depends on the data.
    """
    try:
        with _recorded_functions():
            return fx.GraphModule(model, _Tracer().trace(model))
    except Exception as error:  # torch.fx raises whatever the model's own code raises on a proxy
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NotApplicable(
            f"the forward pass of {type(model).__name__} cannot be followed: {reason}",
            fix="use a model whose forward pass does not branch on the data",
        ) from error
