"""The body of a text model: which of its linear maps read what, and what enters them for any tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradiometer.core import NotApplicable, Values, clone_model, read_tokens
from gradiometer.numerics.layers import child


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Linear maps that read one and the same input, such as the queries, keys and values of one attention.

    Args:
        name: the module by whose input it is known.
        weights: names of the maps' weights.
        turned: for each, whether it is [inputs, outputs], as in GPT-2's Conv1D, and not [outputs, inputs].
        features: width of the input.
        contextual: whether a token's input depends on other tokens.
    """

    name: str
    weights: tuple[str, ...]
    turned: tuple[bool, ...]
    features: int
    contextual: bool

    def gradient(self, values: Values) -> Tensor:
        """The maps' gradients, one below the other, [outputs, features]: its rows combine the inputs of all tokens."""
        return torch.cat(self.parts(values))

    def parts(self, values: Values) -> list[Tensor]:
        """The maps' gradients, each [outputs, features]."""
        parts = (values[name].double() for name in self.weights)
        return [part.T if turned else part for part, turned in zip(parts, self.turned)]


class _Enough(Exception):
    """What was looked for has been seen: the rest of the model need not run."""


class Body:
    """Runs copies of a text model, in single or double precision, up to the input of one of its maps.

    Args:
        model: called as `model(input_ids, attention_mask)`; it is copied.
    """

    def __init__(self, model: nn.Module) -> None:
        single = clone_model(model).eval().requires_grad_(False)
        self._models = {torch.float32: single.float(), torch.float64: clone_model(single).double()}

    def readers(self, values: Mapping[str, Tensor]) -> list[Reader]:
        """The groups of linear maps over [n, length, features] whose weights were sent, in the order in which they run.

        Raises:
            NotApplicable: the model does not take tokens and a mask.
        """
        return readers(self._models[torch.float64], values)

    @property
    def causal(self) -> bool:
        """Whether the first token is blind to later ones, in everything that enters a map."""
        return causal(self._models[torch.float64])

    def inputs(
        self,
        ids: Tensor,
        mask: Tensor | None,
        reader: Reader,
        *,
        positions: Tensor | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> Tensor:
        """What enters a reader [n, length, features].

        Args:
            ids: [n, length]. mask: [n, length], or [n, length, length]: which token sees which. positions: [n, length].
        """
        model = self._models[dtype]
        found: list[Tensor] = []

        def stop(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            found.append(inputs[0])
            raise _Enough

        handle = model.get_submodule(reader.name).register_forward_pre_hook(stop)
        try:
            read_tokens(model, ids, torch.ones_like(ids) if mask is None else mask, positions)
        except _Enough:
            pass
        finally:
            handle.remove()
        return found[0]

    def head(self, ids: Tensor, mask: Tensor) -> tuple[str, Tensor, Tensor]:
        """The last linear map that runs: the name of its weight, its input and its output, in double precision."""
        model = self._models[torch.float64]
        seen: list[tuple[Tensor, Tensor, Tensor]] = []
        handles = [
            module.register_forward_hook(lambda m, inputs, output: seen.append((m.weight, inputs[0], output)))
            for module in model.modules()
            if isinstance(module, nn.Linear)
        ]
        try:
            read_tokens(model, ids, mask)
        finally:
            for handle in handles:
                handle.remove()
        weight, x, output = seen[-1]
        # A weight that two modules share has one name, that of the first.
        return next(name for name, parameter in model.named_parameters() if parameter is weight), x, output


def readers(model: nn.Module, values: Mapping[str, Tensor], most: int | None = None) -> list[Reader]:
    """The groups of linear maps over [n, length, features] whose weights were sent, in the order in which they run.

    Args:
        model: in eval mode. most: stops the model as soon as so many were met.

    Raises:
        NotApplicable: the model does not take tokens and a mask.
    """
    first, other = torch.tensor([[0, 0, 1]]), torch.tensor([[1, 0, 0]])
    seen, changed = (_linear_inputs(model, ids, values, most) for ids in (first, other))
    groups: dict[int, list[str]] = {}
    for name, (x, _) in seen.items():
        groups.setdefault(id(x), []).append(name)
    found = []
    for names in groups.values():
        sent = [name for name in names if child(name, "weight") in values]
        if not sent:
            continue
        (x, _), (y, _) = seen[sent[0]], changed[sent[0]]
        found.append(
            Reader(
                name=sent[0],
                weights=tuple(child(name, "weight") for name in sent),
                turned=tuple(_turned(model, name, *seen[name]) for name in sent),
                features=x.shape[2],
                contextual=not torch.equal(x[:, 1], y[:, 1]),
            )
        )
    return found


def causal(model: nn.Module, values: Mapping[str, Tensor] | None = None, most: int | None = None) -> bool:
    """Whether the first token is blind to later ones, in everything that enters a map; arguments as for `readers`."""
    seen = [_linear_inputs(model, torch.tensor([[0, 0, last]]), values, most) for last in (0, 1)]
    return all(torch.equal(seen[0][name][0][:, 0], seen[1][name][0][:, 0]) for name in seen[0])


def _linear_inputs(
    model: nn.Module, ids: Tensor, values: Mapping[str, Tensor] | None = None, most: int | None = None
) -> dict[str, tuple[Tensor, Tensor]]:
    """Input and output [1, length, ...] of every module that has a matrix for a weight and maps one to the other.

    Args:
        values: of what was sent. most: ends the run as soon as so many inputs of sent maps were seen, and another is met.
    """
    seen, met = dict[str, tuple[Tensor, Tensor]](), set[int]()

    def look(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        x, weight = inputs[0], module.weight
        shape = (x.shape[-1], output.shape[-1])
        if (
            x.is_floating_point()
            and x.ndim == 3
            and isinstance(weight, Tensor)
            and sorted(weight.shape) == sorted(shape)
        ):
            if values is not None and child(name, "weight") in values:
                met.add(id(x))
            if most is not None and len(met) > most:
                raise _Enough
            seen[name] = (x, output)

    handles = [
        module.register_forward_hook(lambda m, i, o, name=name: look(name, m, i, o))
        for name, module in model.named_modules()
        if isinstance(getattr(module, "weight", None), Tensor) and module.weight.ndim == 2
    ]
    try:
        with torch.no_grad():
            read_tokens(model, ids, torch.ones_like(ids))
    except _Enough:
        pass
    except Exception as error:  # a model of another kind may raise anything
        raise NotApplicable(
            f"the model does not take tokens: model(input_ids, attention_mask) fails with {type(error).__name__}: {error}",
            fix="text attacks need a text model that is called as model(input_ids, attention_mask)",
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _turned(model: nn.Module, name: str, x: Tensor, output: Tensor) -> bool:
    """Whether the output is `x W + b`, with a weight of [inputs, outputs], and not `x W' + b`."""
    weight = model.get_submodule(name).weight
    assert isinstance(weight, Tensor)
    if weight.shape[0] != weight.shape[1]:
        return weight.shape[0] == x.shape[-1]
    # Differences of tokens, in which the bias falls out.
    dx, dy = x[0].diff(dim=0), output[0].diff(dim=0)
    return bool((dx @ weight - dy).norm() < (dx @ weight.T - dy).norm())
