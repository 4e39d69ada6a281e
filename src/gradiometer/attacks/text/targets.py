"""What the loss compared with: the classes of sequences, or the last tokens of sentences whose next tokens are predicted.

For softmax cross-entropy the head's gradient is `dL/dW = sum (p - e_target) h' / terms`. With the sequences known, all but
the targets can be simulated: what is missing in the head's gradient, solved for the inputs h, shows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradiometer.core import Batch, Recipe, Update, Values, simulate

from .body import Body
from .prefixes import Sentence

ROUNDS = 8
DOUBT, TOP = 1e-3, 4
"""Share of the head's gradient that may stay unexplained, and how many tokens are then tried for each sentence."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """Sequences whose targets are looked for.

    Args:
        sentences: without their last token, where that is the target.
        classes: how many, or None where the next token is the target.
        length: to which sequences are filled up.
    """

    sentences: Sequence[Sentence]
    classes: int | None
    length: int

    def batch(self, targets: Tensor) -> Batch:
        """The batch with these targets [n]."""
        ids, mask = torch.zeros(2, len(self.sentences), self.length, dtype=torch.long)
        for row, (tokens, target) in enumerate(zip(self.sentences, targets.tolist())):
            whole = tokens if self.classes is not None else (*tokens, target)
            ids[row, : len(whole)], mask[row, : len(whole)] = torch.tensor(whole), 1
        batch = Batch(input_ids=ids, attention_mask=mask)
        return batch if self.classes is None else batch.replace(y=targets)

    @property
    def last(self) -> Tensor:
        """The position of each sequence's last known token, [n]."""
        return torch.tensor([len(tokens) - 1 for tokens in self.sentences])

    @property
    def terms(self) -> int:
        """How many terms the loss has."""
        return len(self.sentences) if self.classes is not None else sum(map(len, self.sentences))


def settle(body: Body, update: Update, gradient: Values, known: Known) -> Batch | None:
    """The batch with its targets; None where the head's gradient was not sent.

    Where a head is tied to the token embedding, the embedding's own gradient depends on the targets and is simulated with the
    last guess: a few rounds settle both. A sequence that the batch holds several times is repeated.
    """
    model: nn.Module = update.need("model")
    targets = torch.zeros(len(known.sentences), dtype=torch.long)
    name, h, p = body.head(*_inputs(known.batch(targets)))
    if name not in gradient:
        return None
    if h.ndim == 3:
        rows = torch.arange(len(h))
        h, p = h[rows, known.last], p[rows, known.last]
    inverse = torch.linalg.pinv(h)
    for _ in range(ROUNDS):
        caused = simulate(model, update.need("loss"), Recipe(), known.batch(targets)).values[name]
        missing = (gradient[name] - caused).double() @ inverse
        hot = nn.functional.one_hot(targets, len(missing)).T
        settled = (hot - known.terms * missing).argmax(0)
        if torch.equal(settled, targets):
            break
        targets = settled
    if known.classes is None and _norm(missing) > DOUBT * _norm(gradient[name].double() @ inverse):
        targets = _tried(
            update, gradient, name, known, (hot - known.terms * missing).topk(TOP, dim=0).indices.T, targets
        )
    batch = known.batch(targets)
    if update.batch_size is None or update.batch_size <= batch.size or known.classes is None:
        return batch
    # Each sequence's share of the mean, from how much larger its derivative p - e is than was simulated.
    slope = p.softmax(1).T - hot
    share = 1 / known.terms + (missing * slope).sum(0) / slope.square().sum(0)
    counts = (share * update.batch_size).round().long().clamp_min(1)
    return (
        batch.take(torch.arange(batch.size).repeat_interleave(counts)) if counts.sum() == update.batch_size else batch
    )


def _inputs(batch: Batch) -> tuple[Tensor, Tensor]:
    return batch["input_ids"], batch["attention_mask"]


def _tried(update: Update, gradient: Values, name: str, known: Known, offered: Tensor, targets: Tensor) -> Tensor:
    """For each sentence in turn, of the tokens offered [n, few], the one whose simulation comes nearest to the head's gradient."""

    def apart(chosen: Tensor) -> float:
        values = simulate(update.need("model"), update.need("loss"), Recipe(), known.batch(chosen)).values
        return _norm(gradient[name] - values[name])

    best = apart(targets)
    for _ in range(2):
        for row, tokens in enumerate(offered.tolist()):
            for token in tokens:
                other = targets.clone()
                other[row] = token
                if (distance := apart(other)) < best:
                    best, targets = distance, other
    return targets


def _norm(value: Tensor) -> float:
    return float(value.double().norm())
