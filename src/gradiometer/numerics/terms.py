"""What a prior becomes for one update: a penalty on the current iterate, and the layers that it wants to look into."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor, nn

Inputs = Mapping[str, list[Tensor]]
"""The inputs of watched layers, one for every call during a simulation, with their graph to the unknown."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Iterate:
    """What a penalty may look at: the pictures, the mean picture of all starts, the inputs of watched layers, and the latent vectors
    [n, entries] that the pictures were made from, where there are any."""

    x: Tensor
    consensus: Tensor | None = None
    inputs: Inputs = field(default_factory=dict)
    latent: Tensor | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Term:
    """A penalty, differentiable in the iterate.

    Args:
        watches: names of the layers whose inputs it reads.
        compares: it looks at the mean picture of all starts.
    """

    penalty: Callable[[Iterate], Tensor]
    watches: tuple[str, ...] = ()
    compares: bool = False


@contextmanager
def watching(model: nn.Module, names: frozenset[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Inside, every call of a named layer appends its first input."""
    seen: dict[str, list[Tensor]] = {name: [] for name in names}

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda module, inputs: seen[name].append(inputs[0])

    modules = dict(model.named_modules())
    handles = [modules[name].register_forward_pre_hook(hook(name)) for name in sorted(names)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
