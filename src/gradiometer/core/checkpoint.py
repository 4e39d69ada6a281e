"""Checkpointing of a local training: of every step only its inputs are kept, and its graph is made again when it is pulled back.

The memory of an unrolled training then grows by the weights, the optimizer's memory and the examples of a step, not by all that
the step's passes record; a derivative costs one evaluation of every step more.

References:
    Chen, Xu, Zhang, Guestrin, Training Deep Nets with Sublinear Memory Cost, 2016, arXiv:1604.06174.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .batch import Batch
from .training import Optimizer

Gradient = Callable[[dict[str, Tensor], Batch, bool], dict[str, Tensor]]
"""From weights and examples to the gradient; with the flag, both keep their graph to it. Pure, but for random draws."""


def checkpointed(
    optimizer: Optimizer, gradient: Gradient, weights: dict[str, Tensor], part: Batch
) -> tuple[dict[str, Tensor], Optimizer]:
    """One step: the weights and the optimizer after it, with derivatives (once) by weights, memory and examples."""
    names, count = list(weights), len(weights)

    def step(inputs: Sequence[Tensor], graph: bool) -> tuple[dict[str, Tensor], Optimizer]:
        own = dict(zip(names, inputs))
        memory = inputs[count : len(inputs) - len(part)]
        after = optimizer.remembering([dict(zip(names, memory[i : i + count])) for i in range(0, len(memory), count)])
        examples = Batch(dict(zip(part, inputs[len(inputs) - len(part) :])))
        return after.step(own, gradient(own, examples, graph)), after

    def run(inputs: Sequence[Tensor], graph: bool) -> list[Tensor]:
        new, after = step(inputs, graph)
        return [*new.values(), *(value for memory in after.memory for value in memory.values())]

    old = [value for memory in optimizer.memory for value in memory.values()]
    found = _Step.apply(run, *weights.values(), *old, *part.values())
    groups = [dict(zip(names, found[i : i + count])) for i in range(0, len(found), count)]
    return groups[0], replace(optimizer.remembering(groups[1:]), count=optimizer.count + 1)


class _Step(torch.autograd.Function):
    """Runs without a graph; runs again with one when derivatives are asked for, from the same random state."""

    @staticmethod
    def forward(ctx: Any, run: Callable[[Sequence[Tensor], bool], list[Tensor]], *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.run, ctx.random = run, torch.get_rng_state()
        ctx.save_for_backward(*inputs)
        with torch.enable_grad():
            return tuple(value.detach() for value in run([value.detach() for value in inputs], False))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[1:]
        leaves = [value.detach().requires_grad_(need) for value, need in zip(ctx.saved_tensors, needed)]
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.set_rng_state(ctx.random)
            found = ctx.run(leaves, True)
        roots = [(value, pull) for value, pull in zip(found, cotangents) if value.requires_grad]
        outputs, pulls = [value for value, _ in roots], [pull for _, pull in roots]
        wanted = [leaf for leaf, need in zip(leaves, needed) if need]
        pulled = iter(torch.autograd.grad(outputs, wanted, pulls, materialize_grads=True))
        return (None, *(next(pulled) if need else None for need in needed))
