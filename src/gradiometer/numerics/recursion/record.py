"""What a walk has found: tensors, derivatives, and a step of the log for every tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from .checksum import Units
from .forward_known import Estimate
from .graph import Graph
from .noise import NONE, Noise
from .remainder import Remainder

ENOUGH = 5
"""How many known numbers a pixel make it cheaper to invert the layers below by descent than to go on closing systems."""
PLENTY = 10
"""How many known numbers a pixel that descent is given, where there are so many."""


@dataclass(kw_only=True)
class Step:
    """What was found about one tensor.

    Args:
        where: the operation that makes it; shape: of one example.
        unknowns, null: positions times examples a channel, and how many of these directions stayed open.
        condition, residual: of the equations.
        error: expected error of the values relative to their size.
        iterations, excess: of the solve that closed open directions: its length, and its residual in units of what
            was expected.
        flips, doubtful: units mended by the checksum, and channels that it left in doubt.
        checksum: largest disagreement of the bias gradient.
        second: units mended by the second look.
    """

    where: str
    shape: tuple[int, ...]
    unknowns: int = 0
    null: int = 0
    condition: float = 1.0
    residual: float = 0.0
    error: float = 0.0
    iterations: int = 0
    excess: float = 1.0
    flips: int = 0
    doubtful: int = 0
    checksum: float = 0.0
    second: int = 0


@dataclass(kw_only=True, eq=False)
class Walk:
    """Everything found.

    Args:
        values: tensors known exactly, by node.
        deltas: derivatives of the loss by them, an example a row (they carry the client's 1 / batch size).
        noise: in the gradient.
        rescaled: whether each of its tensors carries an unknown factor, and so do the values.
        routes: positions that max poolings take, by node.
        steps: by tensor, in the order of the walk.
        stopped: why the walk ended above the input; empty if it got there.
        remainder: the input, where only a few of its directions are open.
    """

    graph: Graph
    gradient: Mapping[str, Tensor]
    noise: Noise = field(default_factory=lambda: NONE)
    rescaled: bool = False
    values: dict[str, Estimate] = field(default_factory=dict)
    deltas: dict[str, Tensor] = field(default_factory=dict)
    routes: dict[str, Tensor] = field(default_factory=dict)
    steps: dict[str, Step] = field(default_factory=dict)
    stopped: str = ""
    remainder: Remainder | None = None
    _waiting: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    _raw: dict[str, Estimate] = field(default_factory=dict)
    _units: dict[str, Units] = field(default_factory=dict)
    _doubtful: dict[str, tuple[int, ...]] = field(default_factory=dict)
    _looks: dict[str, int] = field(default_factory=dict)

    @property
    def frontier(self) -> str | None:
        """The known tensor nearest to the input."""
        return next((name for name in self.graph.nodes if name in self.values), None)

    def targets(self) -> list[list[str]]:
        """Known tensors for the descent to the pixels: low ones first, then the best known one above them, if any is better.

        The first ones are the lowest of those that are known almost as well as the best one is, `PLENTY` numbers a pixel.
        """
        pixels = math.prod(self.graph.nodes[self.graph.input].shape)
        size = {name: math.prod(self.graph.nodes[name].shape) for name in self.graph.nodes if name in self.values}
        large = [name for name in size if size[name] >= ENOUGH * pixels] or list(size)[:1]
        errors = {name: self.error(name) for name in large}
        best = min(large, key=lambda name: errors[name], default="")
        first: list[str] = []
        for name in large:
            if errors[name] < 30 * errors[best] and sum(size[n] for n in first) < PLENTY * pixels:
                first.append(name)
        better = [[best]] if first and errors[best] < 0.5 * min(errors[name] for name in first) else []
        return [first, *better] if first else []

    def error(self, name: str) -> float:
        """Expected relative error of a known tensor, not below that of the client's own numbers."""
        known = self.values[name]
        return max(1e-6, float(known.deviation.square().mean().sqrt() / known.value.square().mean().sqrt()))
