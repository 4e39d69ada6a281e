"""RareClass: is there an example of one class in the batch?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from gradiometer.core import Attack, BadConfig, Card, Channel, Guess, MissingKnowledge, NotApplicable, Update
from gradiometer.numerics.presence import best_reading, presence_error, presence_posterior, presence_threshold

from .reference import directions, other_examples, passages, reference
from .view import HeadView, mean_gradient, view_head


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The count is `B (level - row . direction)`; learned from `source` examples.

    It is off by `deviation` examples where there is none of the class, by `with_case` where there is one.
    """

    direction: Tensor
    level: float
    deviation: float
    with_case: float
    source: str


@dataclass(frozen=True, kw_only=True)
class RareClass(Attack):
    """Decides `n_c >= 1` iff `B (mean p_c - dL/db_c) > 1/2`: a case of disease c in this hospital's batch.

    With noise of standard deviation s on the gradient and the bias as evidence, the error rate is
    `Phi(-1 / (2 B s))`. That assumes one case or none, equally likely. The whole row of the head averages the noise over
    all its entries, so it errs less, with the deviations and the rate in the notes. For a sum over several
    clients the batch is all of theirs: it hides which hospital, not whether.

    Args:
        label: the class c.
        noise: known standard deviation of the noise on every entry sent; None: none, or what the channel says.
        prior: probability of one case beforehand.
        evidence: the `bias` gradient of the class, or its whole `row`.
        source, examples: other inputs to learn the mean probability from, as in `RowSum`.
        channel: what an informed attacker knows of a defense.

    Returns (in `Guess.tensors`):
        class: [1]; present: [1], bool; count: [1], the real-valued estimate, which is also the `score`; confidence: posterior
        of the answer given.
    """

    card: ClassVar[Card] = Card(
        summary="Tells whether a rare class occurs in a batch, with the error rate in closed form.",
        modality="any",
        family="labels",
        formula="n_c >= 1 iff mean p_c - dL/db_c > 1/(2B); error Phi(-1/(2 B s))",
        needs=("model", "batch_size"),
    )
    label: int = 0
    noise: float | None = None
    prior: float = 0.5
    evidence: Literal["row", "bias"] = "row"
    source: Literal["auto", "public", "dummy"] = "auto"
    examples: int = 1024
    channel: Channel | None = None

    def __post_init__(self) -> None:
        problems = [] if 0 < self.prior < 1 else [f"prior must lie in (0, 1), got {self.prior}"]
        if self.label < 0:
            problems.append(f"label must be at least 0, got {self.label}")
        if problems:
            raise BadConfig("RareClass cannot be set up", problems=problems)

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        return self.read(update, self.calibrate(update, rng))

    def calibrate(self, update: Update, rng: torch.Generator) -> Calibration:
        """How to read the class's row: the same for all clients of a round, and for any values that they send."""
        mean_gradient(update)  # refuses what has no scale, even for one example
        seen = view_head(update, self.channel)
        if self.label >= seen.classes:
            raise NotApplicable(f"there is no class {self.label}: the model has {seen.classes}")
        if self.evidence == "bias" and seen.bias is None:
            raise NotApplicable("the head has no bias to read", fix='set evidence = "row"')
        others = other_examples(update, self.source, self.examples, rng)
        if others.examples.size < 2:
            raise MissingKnowledge(
                "one public example does not show how much probabilities vary",
                fix='grant more public data, or set source = "dummy"',
            )
        shown = passages(update, seen, others, rng)
        along = directions(shown[0], seen.bias is not None)
        matrix = along.matrix[:, :1] if self.evidence == "bias" else along.with_mean(shown[0].inputs)
        like = reference(shown, replace(along, matrix=matrix), None)
        noise = torch.einsum("fk,f,fl->kl", matrix, self._variance(update, seen), matrix)
        reading = best_reading(like.inputs, like.answers[:, self.label], seen.size, noise)
        return Calibration(
            direction=matrix @ reading.weights,
            level=reading.level,
            deviation=reading.deviation,
            with_case=reading.with_case,
            source=others.source,
        )

    def read(self, update: Update, known: Calibration) -> Guess:
        """The answer for one update."""
        seen = view_head(update, self.channel)
        count = seen.size * (known.level - float(seen.joint[self.label] @ known.direction))
        present = count > presence_threshold(known.deviation, self.prior, known.with_case)
        chance = presence_posterior(count, known.deviation, self.prior, known.with_case)
        error = presence_error(known.deviation, self.prior, with_case=known.with_case)
        return Guess(
            tensors={
                "class": torch.tensor([self.label]),
                "present": torch.tensor([present]),
                "score": torch.tensor([count]),
                "count": torch.tensor([count]),
            },
            confidence=torch.tensor([chance if present else 1 - chance]),
            notes={
                "source": known.source,
                "deviation": known.deviation,
                "with_case": known.with_case,
                "error": error,
            },
        )

    def observing(self, channel: Channel) -> Attack:
        return replace(self, channel=channel)

    def _variance(self, update: Update, seen: HeadView) -> Tensor:
        """Variance of the noise on the class's row, in units of the mean gradient."""
        row = seen.variance(update.values if self.channel is None else self.channel.variance(update.values))[self.label]
        if self.noise is not None:
            return torch.full_like(row, (self.noise * seen.scale) ** 2)
        return row if self.channel is not None else torch.zeros_like(row)
