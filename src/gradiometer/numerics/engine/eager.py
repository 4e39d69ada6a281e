"""The general path: the objective and its derivative for any client and any distance, by one double backward.

For an unknown z that is decoded to a batch b(z), the client's own code gives the update s(z) that this batch would have
caused; the engine returns D(s(z), sent) + priors and their derivative by z. The derivative is one double backward: the
distance's closed-form cotangent dD/ds is pulled back through s, together with the priors, in a single pass. Gradients by
the weights are built once (they are the update) and never differentiated by the weights again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from gradiometer.core import Batch, Loss, NotApplicable, Recipe, simulate
from gradiometer.numerics.distances import Comparison
from gradiometer.numerics.terms import watching

from .point import Decode, Penalty, Point

HELD = 2**30
"""Bytes that the graph of a whole local training may hold; a longer one keeps only the weights between its steps."""
T = TypeVar("T")


@dataclass(kw_only=True, eq=False)
class Eager:
    """A client's simulation, prepared for many evaluations.

    Args: as `Engine`, but
        compare: maps simulated values to a distance and its derivative (`distance.against(sent)`).
        checkpoint: whether the graphs of local steps are made again instead of kept, in evaluations: memory then grows by the weights a
            step, and a step costs one evaluation more. None: where they would hold more than `HELD`, by the first step. Never
            where priors read inner layers: what they read would be without its graph.
    """

    model: nn.Module
    loss: Loss
    recipe: Recipe
    compare: Comparison
    scale: float = 1.0
    seed: int = 0
    watch: frozenset[str] = frozenset()
    checkpoint: bool | None = None
    _checked: bool = False

    def __call__(self, unknowns: Sequence[Tensor], decode: Decode, penalty: Penalty | None = None) -> Point:
        """Evaluates once.

        Args:
            unknowns: what to differentiate by; left as they are.
            decode: differentiable map from the unknowns to the batch that the client would hold.
            penalty: the sum of the priors, given that batch and the inputs of the watched layers.

        Raises:
            NotApplicable: the update does not depend on the unknowns, or cannot be differentiated twice.
        """
        leaves = [value.detach().requires_grad_() for value in unknowns]
        # Fused attention has no second derivative; the plain formula has.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            batch = decode(leaves)
            if not self._checked:
                self._prepare(batch)
            with watching(self.model, self.watch) as inputs:
                simulated = self.simulated(batch, checkpoint=bool(self.checkpoint))
                extra = None if penalty is None else penalty(batch, inputs)
        value, cotangents = self.compare({name: v.detach() for name, v in simulated.items()})
        roots = {name: v for name, v in simulated.items() if name in cotangents and v.requires_grad}
        if not roots:
            raise NotApplicable("the client's update does not depend on the data in a way that can be differentiated")
        outputs, pulls = list(roots.values()), [cotangents[name] for name in roots]
        total = value
        if extra is not None and extra.requires_grad:
            total = value + extra.detach()
            outputs, pulls = [*outputs, extra], [*pulls, torch.ones_like(extra)]
        with sdpa_kernel(SDPBackend.MATH):  # checkpointed steps are repeated here
            slopes = torch.autograd.grad(outputs, leaves, pulls, materialize_grads=True)
        return Point(value=float(total), distance=float(value), gradient=[slope.contiguous() for slope in slopes])

    def measure(self, batch: Batch) -> float:
        """The distance that a batch would leave, without a derivative."""
        return float(self.compare(self.simulated(batch, graph=False))[0])

    def simulated(self, batch: Batch, *, checkpoint: bool = False, graph: bool = True) -> Mapping[str, Tensor]:
        """The client's update for this batch, with its graph to the batch."""
        random = self.recipe.mode == "train" or self.recipe.shuffle
        rng = torch.Generator().manual_seed(self.seed) if random else None
        values = simulate(
            self.model, self.loss, self.recipe, batch, rng=rng, differentiable=graph, checkpoint=checkpoint
        ).values
        return values if self.scale == 1 else {name: self.scale * value for name, value in values.items()}

    def _prepare(self, batch: Batch) -> None:
        """Looks at the first local step: whether it can be differentiated twice, and how much its graph holds."""
        steps = self.recipe.steps if self.recipe.sends == "delta" else 1
        part = batch.take(slice(0, self.recipe.batch_size)) if steps > 1 else batch
        first = replace(self.recipe, sends="gradient", epochs=1, batch_size=None)
        rng = torch.Generator().manual_seed(self.seed) if first.mode == "train" else None
        sent, held = recorded(lambda: simulate(self.model, self.loss, first, part, rng=rng, differentiable=True))
        _check_twice_differentiable([value for value in sent.values.values() if value.requires_grad])
        if self.watch or steps == 1:
            self.checkpoint = False
        elif self.checkpoint is None:
            self.checkpoint = steps * held > HELD
        self._checked = True


class _Kept:
    """A tensor that a graph holds; it dies with the graph."""

    def __init__(self, value: Tensor) -> None:
        self.value = value


def recorded(function: Callable[[], T]) -> tuple[T, int]:
    """The result, and how many bytes of tensors its graph holds for derivatives."""
    alive: WeakSet[_Kept] = WeakSet()

    def pack(value: Tensor) -> _Kept:
        alive.add(kept := _Kept(value.detach()))
        return kept

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.value):
        result = function()
    rooms = [kept.value.untyped_storage() for kept in alive]
    return result, sum({room.data_ptr(): room.nbytes() for room in rooms}.values())


def _check_twice_differentiable(outputs: Sequence[Tensor]) -> None:
    """Looks for operations without second derivative in the graph: some make autograd leave out their share silently."""
    seen: set[object] = set()
    stack = [output.grad_fn for output in outputs]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name().rpartition("::")[2] in ("Error", "DelayedError", "NotImplemented"):
            raise NotApplicable(
                "the model holds an operation that cannot be differentiated twice, as gradient matching must",
                fix="replace that operation, or choose an attack that does not differentiate the gradient",
            )
        stack.extend(before for before, _ in node.next_functions)
