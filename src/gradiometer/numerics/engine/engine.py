"""Engine: one call for all clients; takes the fast path where there is one, and only after comparing it with the general one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gradiometer.core import Batch, Loss, NotApplicable, Recipe, Values, cross_entropy
from gradiometer.numerics.distances import Distance

from .condition import Conditioner, of_first_layer
from .eager import Eager
from .fast import Fast
from .packed import keep_memory
from .point import Decode, Penalty, Point
from .precision import MIXED, Precision, has_units, pays
from .slope import EagerSlope, FastSlope, Slope

NUDGE = 0.05
"""The paths are compared beside the first unknown: on a gray picture the entries of a pooling window tie."""


SMOOTH, KINKED, DOUBLE = 1e-3, 3e-2, 1e-7
"""Largest relative difference of derivatives that passes. Where a network has kinks, the rounding of 32-bit floats alone puts some
units on the other side of theirs, in either path."""


@dataclass(kw_only=True, eq=False)
class Engine:
    """A client's simulation, prepared for many evaluations.

    Args:
        model: the start of the round; its weights and buffers are never written to.
        loss, recipe: the client's.
        distance, sent: what simulated values are compared with, and how.
        scale: simulated values are multiplied by it first (a weight delta times -1 / (lr * steps) is a mean gradient).
        seed: of the order of examples and of dropout masks, the same in every evaluation: the client's own draw is
            not known, and an objective that changes under the optimizer's feet cannot be minimized.
        watch: layers whose inputs the priors read.
        general: never take the fast path.
        checkpoint: of local steps on the general path, see `Eager`.
        precision: whether evaluations that are not compared may be made in 16 bits; the model's type decides the others.
    """

    model: nn.Module
    loss: Loss
    recipe: Recipe
    distance: Distance
    sent: Values
    scale: float = 1.0
    seed: int = 0
    watch: frozenset[str] = frozenset()
    general: bool = False
    checkpoint: bool | None = None
    precision: Precision = "auto"
    _path: str = field(default="", init=False)
    _fast: Fast | None = field(default=None, init=False)
    _mixed: Fast | None = field(default=None, init=False)
    _refused: str = field(default="", init=False)
    _conditioner: Conditioner | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        keep_memory()
        self._eager = Eager(
            model=self.model,
            loss=self.loss,
            recipe=self.recipe,
            compare=self.distance.against(self.sent),
            scale=self.scale,
            seed=self.seed,
            watch=self.watch,
            checkpoint=self.checkpoint,
        )

    @property
    def path(self) -> str:
        """Which way evaluations take, and why if it is not the fast one; empty before the first."""
        return self._path + (", checkpointed between its steps" if self._path and self._eager.checkpoint else "")

    @property
    def computed(self) -> str:
        """The type of the numbers, of those that are not compared and of the others; and why 16 bits are refused where they were tried."""
        own = str(next(iter(self.sent.values())).dtype).removeprefix("torch.")
        if self._mixed is not None:
            return f"bfloat16 before the last phase, {own} there and in all scores"
        return own + (f": bfloat16 {self._refused}" if self._refused else "")

    def __call__(
        self, unknowns: Sequence[Tensor], decode: Decode, penalty: Penalty | None = None, *, mixed: bool = False
    ) -> Point:
        """Evaluates once.

        Args:
            unknowns: what to differentiate by; left as they are.
            decode: differentiable map from the unknowns to the batch that the client would hold.
            penalty: the sum of the priors, given that batch and the inputs of the watched layers.
            mixed: the point is only descended from, so that it may be computed in 16 bits where that pays.

        Raises:
            NotApplicable: the update does not depend on the unknowns, or cannot be differentiated twice.
        """
        if not self._path:
            self._choose(unknowns, decode, penalty)
        path = (self._mixed if mixed else None) or self._fast or self._eager
        return path(unknowns, decode, penalty)

    def measure(self, batch: Batch) -> float:
        """The distance that a batch would leave, without a derivative: a third of the work."""
        return self._eager.measure(batch)

    def slope(self, unknowns: Sequence[Tensor], decode: Decode) -> Slope:
        """The update's dependence on the unknowns around a point, for Gauss-Newton steps.

        By the fast path where it is taken, shows every weight gradient, and the unknown is the input itself.
        """
        if not self._path:
            self._choose(unknowns, decode, None)
        batch = decode(list(unknowns))
        if self._fast is not None and self._fast.formed and batch["x"] is unknowns[0] and len(unknowns) == 1:
            return FastSlope(self._fast, batch["x"], batch["y"], self._conditioner)
        return EagerSlope(self._eager, self.sent, unknowns, decode)

    def _choose(self, unknowns: Sequence[Tensor], decode: Decode, penalty: Penalty | None) -> None:
        """Sets `path` to what is used, with the reason if it is not the fast one."""
        self._path, self._fast = "double backward", None
        if self.general:
            return
        try:
            with torch.no_grad():
                batch = decode(list(unknowns))
            fast = self._prepared(batch)
            off = self._disagreement(fast, unknowns, decode, penalty)
        except NotApplicable as reason:
            self._path += f": {reason.message}"
            return
        except (
            Exception
        ) as error:  # whatever a user's model raises when it is taken apart; the general path runs it whole
            self._path += f": the fast path failed ({next(iter(str(error).splitlines()), type(error).__name__)})"
            return
        if off <= (KINKED if fast.kinked else SMOOTH if batch["x"].dtype == torch.float32 else DOUBLE):
            self._path, self._fast = "r-operator", fast
            self._conditioner = of_first_layer(self.model, batch["x"].shape)
            self._mixed = self._lowered(fast, batch, unknowns, decode, penalty)
        else:
            self._path += f": the fast path is off by {off:.0e}"

    def _lowered(
        self, fast: Fast, batch: Batch, unknowns: Sequence[Tensor], decode: Decode, penalty: Penalty | None
    ) -> Fast | None:
        """The same in 16 bits, if it is asked for or pays; `computed` tells."""
        x = batch["x"]
        asked = self.precision == "bfloat16"
        wanted = asked or (self.precision == "auto" and has_units(x.device))
        if not wanted or x.dtype != torch.float32 or self.watch:
            return None
        try:
            mixed = self._prepared(batch, copy.deepcopy(self.model).bfloat16())
            off = self._disagreement(mixed, unknowns, decode, penalty)
        except Exception:  # an operation that has no kernel for this type
            self._refused = "fails"
            return None
        if not off <= MIXED:
            self._refused = f"is off by {off:.0e}"
            return None

        def step(path: Fast) -> Callable[[], Point]:
            return lambda: path(unknowns, decode, penalty)

        if asked or pays(step(mixed), step(fast), x.device):
            return mixed
        self._refused = "does not pay"
        return None

    def _prepared(self, batch: Batch, model: nn.Module | None = None) -> Fast:
        """Args: model: this one in another precision."""
        recipe = self.recipe
        if self.loss is not cross_entropy or set(batch) != {"x", "y"} or batch["y"].ndim > 2:
            raise NotApplicable("the loss is not the mean cross-entropy of labels")
        if recipe.sends == "delta" and (recipe.steps > 1 or recipe.optimizer != "sgd"):
            raise NotApplicable("local training of several steps")
        if not batch["x"].is_floating_point():
            raise NotApplicable("the input is not continuous")
        scale = self.scale * (-recipe.lr if recipe.sends == "delta" else 1.0)
        x = batch["x"] if model is None else batch["x"].to(next(model.parameters()).dtype)
        fast = Fast(model or self.model, recipe.mode, x, self.distance, self.sent, scale=scale)
        if not self.watch <= set(fast.program.watched):
            raise NotApplicable(f"the fast path does not see the input of {min(self.watch)}")
        fast.program.watched = {name: fast.program.watched[name] for name in self.watch}
        return fast

    def _disagreement(self, fast: Fast, unknowns: Sequence[Tensor], decode: Decode, penalty: Penalty | None) -> float:
        """The largest relative difference of value and derivative beside the first unknown."""
        rng = torch.Generator().manual_seed(self.seed)
        near = [u + NUDGE * torch.randn(u.shape, generator=rng).to(u) for u in unknowns]
        one, other = fast(near, decode, penalty), self._eager(near, decode, penalty)
        gaps = [float((a - b).norm() / b.norm().clamp_min(1e-30)) for a, b in zip(one.gradient, other.gradient)]
        return max(abs(one.value - other.value) / max(abs(other.value), 1e-3), *gaps)
