"""TIGER: sentences by continuous optimization, from the spans of a transformer's gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gradiometer.core import Card
from gradiometer.numerics.embedding_tables import find_tables

from .body import Body
from .claiming import Claims
from .dager import DAGER
from .exchange import complete, descend, lengths, unused
from .prefixes import Found, Sentence
from .ranking import CONTROLS, Ranked, cost
from .relaxed import Relaxed, descend_between
from .seeing import Seen, look

FRONT, NEAREST = 8, 4
"""Inputs of maps that are looked at, and tokens next to where an embedding ended that are offered to its place."""


@dataclass(frozen=True, kw_only=True)
class TIGER(DAGER):
    """Moves embeddings, from anywhere, until what they cause in the first blocks lies in the spans of the gradients; then takes the next tokens.

    Where `DAGER` enumerates or exchanges tokens, the distance to the spans is descended, for every length that a sentence can have and from
    several starts at once; of a batch each start ends at one of the sentences. The tokens next to where the embeddings end are exchanged as
    long as that brings the sentence nearer. Classes, last tokens and the certificate are DAGER's, and so is what noise of known size does to
    the spans: directions count by how far it turned them.

    Args:
        starts: of the embeddings, each length. steps: of Adam, and lr: its first step in units of the table's root mean square.
        turns: of all lengths, while sentences are missing; later ones begin at tokens that no sentence has.
        tolerance, kept, simulations, channel: as in `DAGER`; beams: not used.

    Returns (in `Guess`):
        As `DAGER`.

    References:
        Kalikman, Petrov, Dimitrov, Vechev, "TIGER: Inverting Transformer Gradients via Embedding-Subspace Distance Optimization", 2026,
        arXiv:2606.18312.
    """

    card: ClassVar[Card] = Card(
        summary="Moves embeddings until what they cause lies in the spans of a transformer's gradients, and takes the next tokens.",
        title="TIGER: Inverting Transformer Gradients via Embedding-Subspace Distance Optimization",
        authors="Kalikman, Petrov, Dimitrov, Vechev",
        year=2026,
        arxiv="2606.18312",
        modality="text",
        family="search",
        formula="min_e sum over maps l and places p of dist(rowspan dL/dW_l, x_l(e)_p), then the next tokens",
        needs=("model", "loss"),
        departs="sentences one by one, of every length that the first span allows, where the paper moves whole batches; no prior on embeddings; "
        "the inputs of all maps of the first two blocks; tokens from DAGER's candidates of each place, exchanged at the end; noise by its known size",
    )
    starts: int = 6
    steps: int = 60
    lr: float = 0.2
    turns: int = 6

    def _found(
        self, claims: Claims, seen: list[Seen], candidates: list[Tensor], end: int | None, rng: torch.Generator
    ) -> list[Found]:
        body, update, values = claims.body, claims.update, claims.values
        drifts = update.sends == "delta" and (update.recipe is None or update.recipe.steps > 1)
        # Others leave tokens out, as those of a last block do.
        ranks = {one.reader.contextual: one.span.rank for one in seen}
        front = [look(one, values, self.tolerance, drifts) for one in body.readers(values)[:FRONT]]
        front = [one for one in front if one.clear and one.span.rank >= ranks[one.reader.contextual]]
        relaxed = Relaxed(update.need("model"), find_tables(update), front or seen)
        found: dict[Sentence, Found] = {}
        for turn in range(self.turns):
            for slots in _of_each_length(candidates, end, 1):
                if complete(found, seen[-1], update.batch_size):
                    break
                often = [unused(tokens, place, found) for place, tokens in enumerate(slots)] if turn else None
                ids = self._moved(body, relaxed, seen, slots, rng, often)
                apart = torch.stack([one.distance(body.inputs(ids, None, one.reader)) for one in seen]).amax((0, 2))
                near = [Found(tokens=tuple(row), distance=float(far)) for row, far in zip(ids.tolist(), apart)]
                found |= {one.tokens: one for one in near if one.distance <= 1}
        return [one for one in found.values() if not any(_begins(one.tokens, other) for other in found)]

    def _likeliest(
        self,
        claims: Claims,
        seen: tuple[list[Seen], list[Seen]],
        candidates: list[Tensor],
        end: int | None,
        least: int,
        rng: torch.Generator,
    ) -> list[Ranked]:
        body, update, (alone, together) = claims.body, claims.update, seen
        controls = torch.randint(update.layout["input_ids"].classes or 1, (CONTROLS, len(candidates)), generator=rng)
        relaxed, found = Relaxed(update.need("model"), find_tables(update), [*alone, *together]), list[Ranked]()
        for slots in _of_each_length(candidates, end, least):
            ids = self._moved(body, relaxed, together, slots, rng)
            level = float(cost(body, together, controls[:, : len(slots)]).sum(1).mean())
            near = cost(body, together, ids).sum(1).tolist()
            found += [Ranked(tokens=tuple(row), odds=level - far) for row, far in zip(ids.tolist(), near)]
        return sorted(found, key=lambda one: -one.odds)

    def _moved(
        self,
        body: Body,
        relaxed: Relaxed,
        seen: Sequence[Seen],
        slots: list[Tensor],
        rng: torch.Generator,
        often: list[Tensor] | None = None,
    ) -> Tensor:
        """Sequences [n, length] at which embeddings end, with tokens exchanged among what the starts found."""
        ends = descend_between(relaxed, slots, starts=self.starts, steps=self.steps, lr=self.lr, rng=rng, often=often)
        ids = torch.stack([tokens[:, 0] for tokens in ends], 1).unique(dim=0)
        offered = [tokens[:, :NEAREST].unique() for tokens in ends]
        return descend(ids, offered, lambda tried: cost(body, seen, tried).sum(1)).unique(dim=0)


def _of_each_length(candidates: list[Tensor], end: int | None, least: int) -> list[list[Tensor]]:
    """The candidates of every place, for each length that a sentence can have, the longest first."""
    if end is None:
        found = [candidates[:length] for length in range(1, len(candidates) + 1)]
    else:
        found = lengths(candidates, end)
    return [slots for slots in reversed(found) if len(slots) >= least]


def _begins(one: Sentence, other: Sentence) -> bool:
    """Whether a sequence is the beginning of a longer one: what a decoder reads of the longer one fits as well."""
    return len(one) < len(other) and other[: len(one)] == one
