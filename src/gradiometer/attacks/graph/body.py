"""The body of a graph model: two layers that mix neighbors and a readout, evaluated on single neighborhoods."""

from __future__ import annotations

from copy import copy
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gradiometer.core import NotApplicable, clone_model
from gradiometer.numerics.layers import child

CHUNK = 2**22
"""How many numbers are worked on at once."""


class Mixing(Protocol):
    """A layer that maps each node by `linear` and mixes the outcome over neighbors."""

    linear: nn.Linear

    def mix(self, own: Tensor, others: Tensor, edges: Tensor, degree: Tensor, degrees: Tensor) -> Tensor: ...


class Body:
    """A copy of a graph model in double precision.

    Args:
        model: has two `layers` as in `Mixing`, an `activation` between them, and a `readout` of linear maps that reads each
            node's features beside its embedding; `per_node` says that nodes have classes, and not the graph.

    Raises:
        NotApplicable: the model is built otherwise.
    """

    def __init__(self, model: nn.Module) -> None:
        layers, readout = getattr(model, "layers", None), getattr(model, "readout", None)
        mixing = isinstance(layers, nn.ModuleList) and all(
            isinstance(getattr(layer, "linear", None), nn.Linear) and hasattr(layer, "mix") for layer in layers
        )
        if not mixing or not isinstance(readout, nn.Sequential) or not isinstance(readout[0], nn.Linear):
            raise NotApplicable(
                "the model is no graph network that this attack can take apart",
                fix="it needs `layers` with `linear` and `mix`, and a `readout` that begins with a linear map, as in models.gcn",
            )
        assert isinstance(layers, nn.ModuleList)
        if len(layers) != 2:
            raise NotApplicable(f"the attack reads graph networks of 2 layers, and this one has {len(layers)}")
        self.model = clone_model(model).double().eval().requires_grad_(False)
        names = {module: name for name, module in model.named_modules()}
        maps: tuple[Any, ...] = (layers[0].linear, layers[1].linear, readout[0])
        if maps[2].in_features != maps[0].in_features + maps[1].out_features:
            raise NotApplicable("the readout does not read a node's features beside its embedding")
        self.weights: tuple[str, ...] = tuple(child(names[one], "weight") for one in maps)
        heads = [module for module in readout if isinstance(module, nn.Linear)]
        self.first_bias, self.last_bias = (child(names[one], "bias") for one in (readout[0], heads[-1]))
        self.per_node = bool(getattr(model, "per_node", False))

    @property
    def _layers(self) -> Any:
        return self.model.layers

    def single(self) -> Body:
        """The same in single precision."""
        other = copy(self)
        other.model = clone_model(self.model).float()
        return other

    def embed(self, number: int, own: Tensor, others: Tensor, edges: Tensor, degree: Tensor, degrees: Tensor) -> Tensor:
        """What layer `number` makes of nodes in their neighborhoods, [n, width], with the activation behind the first.

        Args:
            own: mapped center of each neighborhood, [n, width]; others: mapped neighbors, [n, k, width].
            edges: [n, k], 1 where there is a neighbor. degree, degrees: [n] and [n, k].
        """
        layer: Any = self._layers[number]
        mixed: Tensor = layer.mix(own[:, None], others, edges[:, None], degree[:, None], degrees)[:, 0]
        return mixed if number else self.model.activation(mixed)  # type: ignore[operator]

    def mapped(self, number: int, rows: Tensor) -> Tensor:
        """What layer `number` makes of nodes before it mixes them, [n, width]."""
        out: Tensor = self._layers[number].linear(rows)
        return out

    def slopes(self, rows: Tensor, delta: Tensor | None) -> Tensor:
        """The derivative of a node's share of the loss by the readout's first map, [classes or 1, n, width].

        Args:
            rows: features beside embedding, [n, features + width].
            delta: derivative of the graph's loss by its logits, [classes]; None where every node has a class of its own,
                which is then each class in turn.
        """
        readout: nn.Sequential = self.model.readout  # type: ignore[assignment]
        with torch.enable_grad():
            hidden = readout[0](rows).requires_grad_()
            logits = readout[1:](hidden)
            if delta is not None:
                return torch.autograd.grad((logits * delta).sum(), hidden)[0][None]
            columns = [torch.autograd.grad(part.sum(), hidden, retain_graph=True)[0] for part in logits.unbind(1)]
        every = torch.stack(columns)
        return torch.einsum("nc,cnw->nw", logits.detach().softmax(1), every)[None] - every
