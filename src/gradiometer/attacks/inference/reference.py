"""What a batch would do to the head, learned from other inputs that pass through the same model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from gradiometer.core import Batch, Layout, Update, clone_model
from gradiometer.numerics.counting import Reference
from gradiometer.numerics.heads import head_outputs

from .view import HeadView


@dataclass(frozen=True, kw_only=True)
class Passage:
    """Reference examples at one model of the local training: head inputs [n, features] and answers [n, classes]."""

    inputs: Tensor
    answers: Tensor
    weight: Tensor
    bias: Tensor

    def moved(self, mean: Tensor) -> Passage:
        """The same examples with their inputs shifted to this mean, and answered anew."""
        inputs = self.inputs - self.inputs.mean(0) + mean
        answers = (inputs @ self.weight.T + self.bias).softmax(1)
        return Passage(inputs=inputs, answers=answers, weight=self.weight, bias=self.bias)


def passages(update: Update, seen: HeadView, others: Others, rng: torch.Generator) -> list[Passage]:
    """The examples at the start of the round and, where weights were trained on, also at its end."""
    recipe = update.recipe
    mode = recipe.mode if recipe is not None else "eval"
    size = (recipe.batch_size if recipe is not None else None) or seen.size
    start: nn.Module = update.need("model")
    found = []
    for model in [start] if update.sends == "gradient" else [start, _moved(start, update)]:
        inputs, answers = head_outputs(
            model, update.need("loss"), seen.head, others.examples, mode=mode, size=size, rng=rng
        )
        weight = model.get_parameter(seen.head.weight).detach().double()
        head = model.get_submodule(seen.head.module)
        bias = head.bias.detach().double() if isinstance(head.bias, Tensor) else weight.new_zeros(len(weight))
        found.append(Passage(inputs=inputs, answers=answers, weight=weight, bias=bias))
    return found


def _moved(model: nn.Module, update: Update) -> nn.Module:
    model = clone_model(model)
    with torch.no_grad():
        for name, delta in update.values.items():
            model.get_parameter(name).add_(delta / max(update.clients, 1))
    return model


@dataclass(frozen=True, kw_only=True)
class Others:
    """Examples that are not the client's; `labels` is None where each stands for every class."""

    examples: Batch
    labels: Tensor | None
    source: str


def other_examples(
    update: Update, source: Literal["auto", "public", "dummy"], most: int, rng: torch.Generator
) -> Others:
    """At most `most` public examples, or 256 dummies; `auto` takes public ones where the threat grants them.

    Raises:
        MissingKnowledge: public examples are asked for, and not granted.
    """
    if source == "dummy" or (source == "auto" and not update.knows("public")):
        return Others(examples=_dummies(update.layout, min(most, 256), rng), labels=None, source="dummy")
    public: Batch = update.need("public").take(slice(0, most))
    labels = public.get("y")
    examples = public if labels is not None else public.replace(y=torch.zeros(public.size, dtype=torch.long))
    return Others(examples=examples, labels=labels, source="public")


def _dummies(layout: Layout, count: int, rng: torch.Generator) -> Batch:
    """Noise in the legal range of every field: what an observer without data can feed the model."""
    made = {}
    for name, field in layout.items():
        if field.kind in ("class", "token"):
            made[name] = torch.randint(field.classes or 2, (count, *field.shape), generator=rng)
        elif field.kind == "mask":
            made[name] = torch.ones(count, *field.shape, dtype=torch.long)
        else:
            noise = torch.randn(count, *field.shape, generator=rng)
            pixels = field.kind == "pixels"
            middle, spread = ((field.low + field.high) / 2, (field.high - field.low) / 4) if pixels else (0.0, 1.0)
            made[name] = field.clamp(field.normalize(middle + spread * noise))
    return Batch(made)


@dataclass(frozen=True, kw_only=True)
class Directions:
    """Along which the head's gradient is read: [features (+ 1 with a bias), directions]."""

    matrix: Tensor
    with_bias: bool

    def of_inputs(self, inputs: Tensor) -> Tensor:
        """[n, features] -> [n, directions]."""
        return self._padded(inputs) @ self.matrix

    def signal(self, seen: HeadView) -> Tensor:
        """The head's gradient, summed over the examples [classes, directions]."""
        return seen.size * seen.joint @ self.matrix

    def with_mean(self, inputs: Tensor) -> Tensor:
        """The matrix with the mean input [features] as one more direction: along it noise averages out best."""
        mean = self._padded(inputs).mean(0)
        return torch.cat([self.matrix, mean[:, None] / (mean @ mean)], 1)

    def _padded(self, inputs: Tensor) -> Tensor:
        return torch.cat([inputs, inputs.new_ones(len(inputs), 1)], 1) if self.with_bias else inputs


def directions(first: Passage, with_bias: bool) -> Directions:
    """The direction in which every input is 1, and those of the logits: these alone decide the probabilities.

    With a bias the first is exact; without, it is the least-squares fit, which makes row sums work on any features.
    """
    inputs = torch.cat([first.inputs, first.inputs.new_ones(len(first.inputs), 1)], 1) if with_bias else first.inputs
    features = inputs.shape[1]
    if with_bias:
        one = torch.eye(features, dtype=inputs.dtype)[-1]
    else:
        gram = inputs.T @ inputs / len(inputs)
        gram = gram + 1e-6 * gram.diagonal().mean() * torch.eye(features, dtype=inputs.dtype)
        one = torch.linalg.solve(gram, inputs.mean(0))
    classes = len(first.weight)
    maps = torch.zeros(features, classes, dtype=inputs.dtype)
    maps[: first.weight.shape[1]] = (first.weight - first.weight.mean(0)).T
    maps = maps - one[:, None] * (inputs @ maps).mean(0)
    _, scale, axes = torch.linalg.svd((inputs @ maps) / len(inputs) ** 0.5, full_matrices=False)
    keep = min(int((scale > 1e-6 * scale[0]).sum()), max(2048 // classes - 1, 0))
    return Directions(matrix=torch.cat([one[:, None], maps @ (axes[:keep].T / scale[:keep])], 1), with_bias=with_bias)


def reference(found: list[Passage], along: Directions, labels: Tensor | None) -> Reference:
    """Head statistics of the examples, averaged over the models of the local training."""
    inputs = [along.of_inputs(passage.inputs) for passage in found]
    answers = [p.answers[:, :, None] * u[:, None, :] for p, u in zip(found, inputs)]
    count = len(inputs[0])
    return Reference(
        answers=torch.stack(answers).mean(0),
        inputs=torch.stack(inputs).mean(0),
        labels=None if labels is None else labels[:count],
    )
