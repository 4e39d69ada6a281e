"""Client: a model, a loss and a recipe. Its local training is written once, for the victim and for whoever simulates it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from .batch import Batch, Layout
from .checkpoint import Gradient, checkpointed
from .errors import BadInput
from .recipe import Recipe
from .rng import global_seed
from .training import Optimizer

Tensors = dict[str, Tensor]
Loss = Callable[[Callable[..., Any], Batch], Tensor]
WeightsLoss = Callable[[Tensors, Batch], Tensor]
"""The client's loss as a pure function of its trained weights and a batch."""


@runtime_checkable
class LocalStep(Protocol):
    """How one local step makes its gradient of `part` instead of the mean one, which None stands for."""

    def __call__(self, loss: WeightsLoss, weights: Tensors, part: Batch, *, rng: torch.Generator) -> Tensors | None: ...


def cross_entropy(model: Callable[..., Any], batch: Batch) -> Tensor:
    """Mean softmax cross-entropy of `model(x)` against `y`: integer classes [n], or probabilities [n, classes]."""
    return F.cross_entropy(model(batch["x"]), batch["y"])


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What one local training produced: named gradients or weight deltas, and the buffers afterwards."""

    values: Tensors
    buffers: Tensors


@dataclass(frozen=True, kw_only=True)
class Client:
    """A participant of the federation.

    Args:
        model: any module; parameters with `requires_grad` are trained and sent.
        loss: `loss(model, batch) -> scalar`, over the names that the batch carries.
        recipe: local training.
        layout: what is publicly known of one example.
    """

    model: nn.Module
    layout: Layout
    loss: Loss = cross_entropy
    recipe: Recipe = field(default_factory=Recipe)

    def train(self, batch: Batch, *, rng: torch.Generator, step: LocalStep | None = None) -> Sent:
        """Follows the recipe once, from `model`, which stays as it is.

        Args:
            step: the part of a defense that acts inside local steps (`Defense.on_step`).

        Raises:
            BadInput: the batch does not fit the layout or the model, or the result is not finite.
        """
        check_fits(batch, self.layout)
        try:
            sent = simulate(self.model, self.loss, self.recipe, batch, rng=rng, step=step)
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
            raise BadInput(
                f"the model does not accept the data {batch}: {error}",
                fix="make data shapes and the model's input agree",
            ) from error
        bad = [name for name, value in sent.values.items() if not all_finite(value)]
        if bad:
            raise BadInput(
                f"the client's {self.recipe.sends} is not finite in {', '.join(bad[:3])}",
                fix="lower the learning rate, or look for NaN or infinite values in the data and the model",
            )
        return sent


def all_finite(value: Tensor) -> bool:
    """Whether nothing is NaN or infinite. A finite sum says so in a fraction of the time; another may have overflowed."""
    return bool(torch.isfinite(value.sum())) or bool(torch.isfinite(value).all())


def check_fits(batch: Batch, layout: Layout) -> None:
    """Raises `BadInput` unless the batch carries every field of the layout in the stated shape, with finite values."""
    for name, spec in layout.items():
        if name not in batch:
            raise BadInput(f'the data have no "{name}", only {sorted(batch)}', fix=f'add a tensor named "{name}"')
        got = tuple(batch[name].shape[1:])
        if got != spec.shape:
            raise BadInput(f'"{name}" has shape {got} an example where the client\'s layout says {spec.shape}')
        if batch[name].is_floating_point() and not all_finite(batch[name]):
            raise BadInput(f'"{name}" holds values that are not finite')
        if spec.classes and not 0 <= int(batch[name].min()) <= int(batch[name].max()) < spec.classes:
            called = {"class": "labels", "token": "tokens"}.get(spec.kind, "values")
            raise BadInput(f'"{name}" holds {called} outside 0..{spec.classes - 1}')


class _Objective(nn.Module):
    """The loss as a module, so that `functional_call` exchanges the weights for every use of the model inside."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch) -> Tensor:
        return self.loss(self.model, batch)


@contextmanager
def in_mode(model: nn.Module, mode: str) -> Iterator[None]:
    """Inside, every submodule is in train or eval mode; outside, each is as it was."""
    before = [(module, module.training) for module in model.modules()]
    model.train(mode == "train")
    try:
        yield
    finally:
        for module, flag in before:
            module.training = flag


def trainable(model: nn.Module) -> Tensors:
    """The parameters that clients train and send, by name, detached."""
    return {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}


def simulate(
    model: nn.Module,
    loss: Loss,
    recipe: Recipe,
    batch: Batch,
    *,
    rng: torch.Generator | None = None,
    differentiable: bool = False,
    checkpoint: bool = False,
    step: LocalStep | None = None,
) -> Sent:
    """One local training as a pure function of the batch.

    The victim and every attacker run this same code. With `differentiable`, the result keeps its graph to the batch.

    Args:
        rng: order of examples (`shuffle`) and dropout masks. None: the given order, and global randomness.
        step: makes the gradient of a step in place of the mean one; draws from `rng`.
        checkpoint: of a differentiable local training, keep only the weights between steps; see `checkpoint.py`. The
            result can be differentiated once.
    """
    objective = _Objective(model, loss)
    start = {f"model.{name}": value for name, value in trainable(model).items()}
    frozen = {f"model.{name}": p.detach() for name, p in model.named_parameters() if not p.requires_grad}
    buffers = {f"model.{name}": value.detach().clone() for name, value in model.named_buffers()}

    def evaluate(weights: Tensors, part: Batch, held: Tensors = buffers) -> Tensor:
        value: Tensor = functional_call(objective, {**weights, **frozen, **held}, (part,))
        return value

    def gradient(weights: Tensors, part: Batch, graph: bool = differentiable, held: Tensors = buffers) -> Tensors:
        slopes = of_loss(weights, part, graph, held)
        if recipe.proximal:
            return {name: slope + recipe.proximal * (weights[name] - start[name]) for name, slope in slopes.items()}
        return slopes

    def of_loss(weights: Tensors, part: Batch, graph: bool, held: Tensors) -> Tensors:
        if step is not None and rng is not None:
            own = step(evaluate, {k: v.detach() for k, v in weights.items()}, part, rng=rng)
            if own is not None:
                return own
        live = weights if graph and recipe.sends == "delta" else {k: v.detach() for k, v in weights.items()}
        live = {k: (v if v.requires_grad else v.requires_grad_()) for k, v in live.items()}
        value = evaluate(live, part, held)
        grads = torch.autograd.grad(value, list(live.values()), create_graph=graph, materialize_grads=True)
        return dict(zip(live, grads))

    def repeatable() -> Gradient:
        """The gradient; once more, with its graph, from the buffers of today and in the recipe's mode, however late."""
        today = {name: value.clone() for name, value in buffers.items()}

        def again(weights: Tensors, part: Batch, graph: bool) -> Tensors:
            if not graph:
                return gradient(weights, part, False)
            with in_mode(model, recipe.mode):
                return gradient(weights, part, True, {name: value.clone() for name, value in today.items()})

        return again

    drawn = global_seed(rng) if rng is not None and recipe.mode == "train" else nullcontext()
    with in_mode(model, recipe.mode), drawn, torch.enable_grad():
        if recipe.sends == "gradient":
            result = gradient(start, batch)
        else:
            weights, optimizer = dict(start), Optimizer(recipe.optimizer, recipe.lr, recipe.momentum)
            for part in _parts(recipe, batch, rng):
                if differentiable and checkpoint and step is None:
                    weights, optimizer = checkpointed(optimizer, repeatable(), weights, part)
                else:
                    weights = optimizer.step(weights, gradient(weights, part))
            result = {name: weights[name] - start[name] for name in start}
    if not differentiable:
        result = {name: value.detach() for name, value in result.items()}
    return Sent(values=_unprefixed(result), buffers=_unprefixed(buffers))


def _parts(recipe: Recipe, batch: Batch, rng: torch.Generator | None) -> Iterator[Batch]:
    size = recipe.batch_size or batch.size
    for _ in range(recipe.epochs):
        order = torch.arange(batch.size)
        if recipe.shuffle and rng is not None:
            order = torch.randperm(batch.size, generator=rng)
        for first in range(0, batch.size, size):
            yield batch.take(order[first : first + size])


def _unprefixed(named: Mapping[str, Tensor]) -> Tensors:
    return {name.removeprefix("model."): value for name, value in named.items()}


def clone_model(model: nn.Module) -> nn.Module:
    """A deep copy that shares nothing with the original."""
    return copy.deepcopy(model)
