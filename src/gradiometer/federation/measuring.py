"""How good a global model is: on common test examples, and on each member's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from gradiometer.core import Batch, in_mode

from .members import Member

INPUTS = (("x",), ("input_ids", "attention_mask"), ("nodes", "adjacency", "mask"))
"""What models are called with, by modality."""


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Right answers of one model.

    Args:
        correct, tested: on the common test examples; 0 of 0 where there are none.
        worst: the lowest accuracy on a member's own held-out examples, and that member; None where nobody has any.
    """

    correct: int
    tested: int
    worst: float | None = None
    worst_member: str | None = None

    @property
    def value(self) -> float | None:
        """Correct over tested."""
        return self.correct / self.tested if self.tested else None


def measure(model: nn.Module, test: Batch | None, members: Sequence[Member] = ()) -> Accuracy:
    """The accuracy of a classifier, in eval mode."""
    own = [(correct(model, m.test) / m.test.size, m.name) for m in members if m.test is not None]
    worst = min(own, default=(None, None), key=lambda pair: pair[0])
    right, of = (correct(model, test), test.size) if test is not None else (0, 0)
    return Accuracy(correct=right, tested=of, worst=worst[0], worst_member=worst[1])


def correct(model: nn.Module, test: Batch, chunk: int = 256) -> int:
    """How many examples get their label named."""
    inputs = next(names for names in INPUTS if names[0] in test)
    with torch.no_grad(), in_mode(model, "eval"):
        guesses = torch.cat([model(*part).argmax(1) for part in zip(*(test[name].split(chunk) for name in inputs))])
    return int((guesses == test["y"]).sum())
