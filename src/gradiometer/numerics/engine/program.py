"""Program: a network as a list of rules, and the passes over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from .rule import Moves, Rule, Slot


@dataclass(kw_only=True, eq=False)
class Program:
    """Tensor 0 is the input; rule i makes tensor i + 1, and the last tensor is the output.

    Args:
        rules: in the order in which they run.
        inputs: which tensors each rule reads.
        watched: for a module of the network, the tensor that it reads.
    """

    rules: list[Rule]
    inputs: list[tuple[int, ...]]
    watched: dict[str, int]
    values: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._trained = [False]
        for rule, sources in zip(self.rules, self.inputs):
            self._trained.append(bool(rule.slots) or any(self._trained[i] for i in sources))
        self._last = {i: number for number, sources in enumerate(self.inputs) for i in sources}

    @property
    def slots(self) -> list[Slot]:
        """Of all rules."""
        return [slot for rule in self.rules for slot in rule.slots]

    def forward(self, x: Tensor) -> Tensor:
        """The output; keeps the tensors that `watched` names."""
        kept = set(self.watched.values())
        values: list[Tensor | None] = [x]
        for number, (rule, sources) in enumerate(zip(self.rules, self.inputs)):
            values.append(rule.forward(*(values[i] for i in sources)))  # type: ignore[arg-type]
            for i in sources:
                if self._last[i] == number and i not in kept:
                    values[i] = None
        self.values = values  # type: ignore[assignment]
        return self.values[-1]

    def backward(self, delta: Tensor, *, whole: bool = False) -> None:
        """Fills the slots' gradients.

        Args:
            whole: also through rules before the first weights, as moves of the input need it.
        """
        deltas: dict[int, Tensor] = {len(self.rules): delta}
        for i in reversed(range(len(self.rules))):
            rule, sources = self.rules[i], self.inputs[i]
            arrived = deltas.pop(i + 1, None)
            needed = [whole or self._trained[j] for j in sources]
            if arrived is None or not (rule.slots or any(needed)):
                continue
            for j, wanted, value in zip(sources, needed, rule.backward(arrived, any(needed))):
                if wanted and value is not None:
                    deltas[j] = deltas[j] + value if j in deltas else value

    def tangent(self, move: Moves = None) -> Moves:
        """The output's move along the slots' moves and the input's."""
        moves: list[Moves] = [move]
        for number, (rule, sources) in enumerate(zip(self.rules, self.inputs)):
            moves.append(rule.tangent(*(moves[i] for i in sources)))
            for i in sources:
                if self._last[i] == number:
                    moves[i] = None
        return moves[-1]

    def pull(self, delta: Tensor, extra: Mapping[int, Tensor] | None = None) -> Tensor | None:
        """The move of the derivative by the input, given that of the output's delta.

        Args:
            extra: derivatives by inner tensors that are pulled back along.
        """
        deltas: dict[int, Tensor] = dict(extra or {})
        last = len(self.rules)
        deltas[last] = deltas[last] + delta if last in deltas else delta
        for i in reversed(range(last)):
            arrived = deltas.pop(i + 1, None)
            if arrived is None:
                continue
            for j, value in zip(self.inputs[i], self.rules[i].pull(arrived)):
                if value is not None:
                    deltas[j] = deltas[j] + value if j in deltas else value
        return deltas.get(0)
