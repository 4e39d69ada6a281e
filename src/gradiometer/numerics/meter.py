"""What exact attacks are predicted to reach, without running them: the words that all their meters share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["exact", "partial", "not"]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One tensor and the layers that read it.

    Args:
        where: the first of these layers; shape: of the tensor, one example (one token).
        unknowns: what the layer's gradient has to tell: examples x positions a channel, or examples or tokens by its rank.
        missing: equations that lack, a channel; of a span, directions that its gradient does not show (0: none).
        closed: whether something else makes up for them.
        rank, gap: of the layer's own gradient, where it has structure; else 0.
    """

    where: str
    shape: tuple[int, ...]
    unknowns: int
    missing: int
    closed: bool
    rank: int = 0
    gap: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Meter:
    """The prediction.

    Args:
        verdict: `exact` (the examples follow), `partial` (something about them does), `not` (nothing does).
        reason: where it ends, and why.
        examples: the batch size that was counted with, read off the spectrum where it was not given; 0: unknown.
        layers: from the head to the input; of a span attack in the order in which it reads them.
        noise: up to which standard deviation of an entry, in units of the gradient's root mean square, exactness is predicted
            to survive, and at which it has ended; None: not predicted.
    """

    verdict: Verdict
    reason: str
    examples: int
    layers: tuple[Reading, ...]
    noise: tuple[float, float] | None = None
