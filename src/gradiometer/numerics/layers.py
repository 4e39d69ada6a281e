"""Linear layers in the order in which the model runs them, and the way from the model's input to one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradiometer.core import Batch, Layout, Loss, clone_model, in_mode


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer with parameters of its own: how many numbers it sees an example, and which of its gradients were sent."""

    name: str
    module: nn.Module
    inputs: int
    sends: frozenset[str]

    @property
    def linear(self) -> bool:
        """Whether it is linear and sees one vector an example, once."""
        return isinstance(self.module, nn.Linear) and self.inputs == self.module.in_features


class Probe:
    """Runs a copy of the model in double precision on single examples and looks at the inputs of its linear layers.

    Dropout is off: its masks are the client's secret.

    Args:
        mode: of normalization, as in the client's recipe.
    """

    def __init__(self, model: nn.Module, loss: Loss, layout: Layout, mode: str) -> None:
        self._model, self._loss, self._layout, self._mode = clone_model(model).double(), loss, layout, mode
        for parameter in self._model.parameters():
            parameter.requires_grad_(False)

    def layers(self, values: Mapping[str, Tensor]) -> list[Layer]:
        """The layers with parameters in the order in which they run."""
        seen: dict[str, list[int]] = {}
        owners = {n: m for n, m in self._model.named_modules() if any(True for _ in m.parameters(recurse=False))}
        handles = [
            module.register_forward_pre_hook(
                lambda _, inputs, name=name: seen.setdefault(name, []).append(inputs[0].numel())
            )
            for name, module in owners.items()
        ]
        self._run(self.gray())
        for handle in handles:
            handle.remove()
        return [
            Layer(
                name=name,
                module=owners[name],
                inputs=sum(sizes),
                sends=frozenset(n for n, _ in owners[name].named_parameters(recurse=False) if child(name, n) in values),
            )
            for name, sizes in seen.items()
        ]

    def gray(self) -> Tensor:
        """The example in the middle of the legal range, [1, *shape]; zeros where it has no limits."""
        field = self._layout["x"]
        zeros = torch.zeros(1, *field.shape, dtype=torch.float64)
        return field.normalize(zeros + (field.low + field.high) / 2) if field.kind == "pixels" else zeros

    def to_layer(self, name: str) -> Callable[[Tensor], Tensor]:
        """The function from one example [1, *shape] to the input of a layer [features]."""
        module = self._model.get_submodule(name)

        def prefix(x: Tensor) -> Tensor:
            found: list[Tensor] = []
            handle = module.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
            try:
                self._run(x)
            finally:
                handle.remove()
            return found[0].reshape(-1)

        return prefix

    def _run(self, x: Tensor) -> None:
        other = {
            name: torch.zeros(1, *field.shape, dtype=torch.long if field.kind == "class" else torch.float64)
            for name, field in self._layout.items()
            if name != "x"
        }
        with in_mode(self._model, self._mode):
            for module in self._model.modules():
                if isinstance(module, nn.Dropout):
                    module.eval()
            self._loss(self._model, Batch(x=x, **other))


def child(owner: str, name: str) -> str:
    """Full name of a layer's parameter; the model itself has the empty name."""
    return f"{owner}.{name}" if owner else name
