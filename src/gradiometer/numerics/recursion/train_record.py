"""What a walk under normalization by own statistics has found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from .checksum import Units
from .forward_known import Estimate
from .graph import Graph
from .record import Step


class Stop(Exception):
    """The walk cannot go on below a tensor."""


@dataclass(kw_only=True, eq=False)
class TrainWalk:
    """Everything found.

    Args:
        values: outputs of activations, and whatever else was solved; deltas: derivatives of the loss by tensors.
        steps: by tensor, in the order of the walk; stopped: why it ended above the input.
        doubtful: channels whose checksum disagrees, by tensor.
        units: slopes of an activation, by its name; raw: its output as it was solved.
        passed: sums and the like whose derivatives were handed on to what they are made of.
        scale: relative standard error of the pictures' common scale, if the walk came to them.
    """

    graph: Graph
    gradient: Mapping[str, Tensor]
    values: dict[str, Estimate] = field(default_factory=dict)
    deltas: dict[str, Tensor] = field(default_factory=dict)
    steps: dict[str, Step] = field(default_factory=dict)
    stopped: str = ""
    scale: float = 0.0
    doubtful: dict[str, tuple[int, ...]] = field(default_factory=dict)
    units: dict[str, Units] = field(default_factory=dict)
    raw: dict[str, Estimate] = field(default_factory=dict)
    passed: set[str] = field(default_factory=set)

    def frontier(self) -> list[str]:
        """Known tensors that something unknown is read for."""
        unknown, found = {self.graph.input} - set(self.values), []
        for node in self.graph.nodes.values():
            if unknown & set(node.inputs) and node.name in self.values:
                found.append(node.name)
            elif unknown & set(node.inputs):
                unknown.add(node.name)
        return found

    def add(self, name: str, delta: Tensor) -> None:
        """One more part of the derivatives by a tensor."""
        before = self.deltas.get(name)
        self.deltas[name] = delta if before is None else before + delta
