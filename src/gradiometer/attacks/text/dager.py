"""DAGER: whole batches of sentences from the spans of a transformer's gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from gradiometer.core import (
    Attack,
    Batch,
    Card,
    Channel,
    Guess,
    NotApplicable,
    Update,
)
from gradiometer.numerics.channels import NoisyDirection, Rescaled
from gradiometer.numerics.embedding_tables import find_tables
from gradiometer.numerics.meter import Meter

from . import listed
from .body import Body
from .choosing import Judge, choose
from .claiming import Claims, apart
from .exchange import exchange
from .metering import predict
from .prefixes import Found, Sentence, grow
from .ranking import CONTROLS, Ranked, exchange_ranked, grow_ranked, levels, likely, seen_in_noise
from .seeing import Seen, before_and_behind, fits, unending
from .verifying import caused


@dataclass(frozen=True, kw_only=True)
class DAGER(Attack):
    """Reads token by token: what entered a linear map lies in the row space of its gradient, and nothing else does.

    Of all tokens at all positions, those are kept whose input to the first attention lies in the span of its gradient. Sentences
    are then put together so that every token's input to a map behind that attention, where it depends on its context, lies in
    that map's span: decoders from the beginning, encoders by exchanging tokens. Classes, or the last tokens of a language model,
    follow from the head. At last the guess is simulated: `exact` is said only if it causes the gradient that was sent.

    Args:
        tolerance: sine of the angle to a span up to which something lies in it; None: from the gap of the singular values.
        starts: random beginnings of the exchange, a length (encoders).
        beams: beginnings of sentences that are followed at once (decoders).
        kept: tokens of a place, and beginnings, that are kept behind noise of known size. simulations: of guesses, there, at most.
        channel: what an informed attacker knows of a defense: it decodes the entries.

    Returns (in `Guess`):
        input_ids, attention_mask: [b, length]. y: [b], where there are classes and the head was sent. confidence: [b], 1 for a
        verified guess, else how deep each sentence lies inside the spans. notes: `rank` and `gap` of both spans, `candidates`,
        `agreement`, the relative distance of the caused gradient from the sent one, and `exact`; behind noise of known size
        `explained`, whether noise explains that distance in every tensor.

    References:
        Petrov, Dimitrov, Baader, Müller, Vechev, "DAGER: Exact Gradient Inversion for Large Language Models", 2024,
        arXiv:2405.15586.
    """

    card: ClassVar[Card] = Card(
        summary="Recovers whole batches of sentences, exactly, from the spans of a transformer's gradients.",
        title="DAGER: Exact Gradient Inversion for Large Language Models",
        authors="Petrov, Dimitrov, Baader, Müller, Vechev",
        year=2024,
        arxiv="2405.15586",
        modality="text",
        family="analytic",
        formula="dL/dW = D^T X;  a token t at place p is kept if dist(x(t, p), rowspan dL/dW) < tau, in the first attention "
        "and, in its context, in a map behind it",
        needs=("model", "loss"),
        departs="tolerances from the gap of the singular values; behind the attention, the map whose gradient tells most tokens "
        "apart (mostly the perceptron of the same block, so that two blocks suffice) and not the next attention's queries; "
        "encoders by exchange of tokens instead of enumeration; classes and last tokens from the head; the guess is verified",
    )
    tolerance: float | None = None
    starts: int = 32
    beams: int = 256
    kept: int = 24
    simulations: int = 60
    channel: Channel | None = None

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        update = update.to("cpu")
        body = Body(update.need("model"))
        update.need("loss")
        field = update.layout.get("input_ids")
        if field is None or field.kind != "token" or not field.classes:
            raise NotApplicable("DAGER reads the field `input_ids`, a sequence of tokens, which the layout lacks")
        values = update.values if self.channel is None else self.channel.decode(update.values)
        told, tables = levels(self.channel, update.values), find_tables(update)
        claims = Claims(body=body, update=update, values=values, channel=self.channel)
        vocabulary = listed.tokens(values, tables, told)
        if vocabulary is None:
            vocabulary = torch.arange(field.classes)
        drifts = update.sends == "delta" and (update.recipe is None or update.recipe.steps > 1)
        ranked = None
        if told and not drifts and self.tolerance is None:
            length = listed.places(values, tables, told, field.shape[0])
            ranked = self._ranked(claims, vocabulary, length, told, rng)
            if ranked is not None and ranked.notes["explained"]:
                return ranked
        try:
            alone, together = before_and_behind(body, values, tolerance=self.tolerance, drifts=drifts)
            if ranked is not None and not (alone.clear and together.clear):
                return ranked
            inside = self._inside(claims, alone, together, vocabulary, rng)
        except NotApplicable:
            if ranked is None:
                raise
            return ranked
        return inside if ranked is None or apart(inside) < apart(ranked) else ranked

    def _inside(self, claims: Claims, alone: Seen, together: Seen, vocabulary: Tensor, rng: torch.Generator) -> Guess:
        """The guess of what lies inside the spans."""
        field, label = claims.update.layout["input_ids"], claims.update.layout.get("y")
        candidates = fits(claims.body, alone, vocabulary, field.shape[0], rng)
        # Without classes the loss is that of next tokens, and the last token enters nothing.
        end = field.end if label is not None else None
        found = self._found(claims, [alone, together], candidates, end, rng)
        notes = {
            "rank": [alone.span.rank, together.span.rank],
            "gap": [alone.span.gap, together.span.gap],
            "width": [alone.reader.features, together.reader.features],
            "read": [alone.reader.name, together.reader.name],
            "candidates": [len(tokens) for tokens in candidates],
            "found": len(found),
        }
        if not found:
            raise _unread([alone, together], candidates)
        return claims.guess(found, notes, together)

    def observing(self, channel: Channel) -> Attack:
        return replace(self, channel=channel)

    def meter(self, update: Update) -> Meter:
        """What this attack is predicted to reach, by the singular values of the first block's gradients; nothing is searched.

        Raises:
            MissingKnowledge: the model is withheld. NotApplicable: it does not take tokens.
        """
        update = update.to("cpu")
        values = update.values if self.channel is None else self.channel.decode(update.values)
        scaled = isinstance(self.channel, Rescaled | NoisyDirection)
        return predict(update, values, scaled=scaled, levels=levels(self.channel, update.values))

    def _found(
        self, claims: Claims, seen: list[Seen], candidates: list[Tensor], end: int | None, rng: torch.Generator
    ) -> list[Found]:
        """The sequences that lie in the spans before and behind the attention."""
        body, together, most = claims.body, seen[-1], claims.update.batch_size
        if body.causal:
            return grow(body, together, candidates, end=end, most=self.beams)
        return exchange(body, together, candidates, end=end, most=most, starts=self.starts, rng=rng)

    def _likeliest(
        self,
        claims: Claims,
        seen: tuple[list[Seen], list[Seen]],
        candidates: list[Tensor],
        end: int | None,
        least: int,
        rng: torch.Generator,
    ) -> list[Ranked]:
        """Sequences of at least so many tokens near what noise leaves of the spans, the likeliest first."""
        body, together = claims.body, seen[1]
        controls = torch.randint(claims.update.layout["input_ids"].classes or 1, (CONTROLS,), generator=rng)
        if body.causal:
            return grow_ranked(body, together, candidates, controls, end=end, beams=self.kept)
        return exchange_ranked(body, together, candidates, controls, end=end, least=least, rng=rng)

    def _ranked(
        self,
        claims: Claims,
        vocabulary: Tensor,
        longest: int | None,
        told: Mapping[str, float],
        rng: torch.Generator,
    ) -> Guess | None:
        """The guess where noise of known size lies on the gradient; None where it shows no span."""
        body, update, values = claims.body, claims.update, claims.values
        alone, together = seen_in_noise(body, values, told)
        if not (alone and together):
            return None
        field, label = update.layout["input_ids"], update.layout.get("y")
        end = field.end if label is not None else None
        length = longest or field.shape[0] - (label is None)  # a last token that is only predicted enters nothing
        candidates = likely(body, alone, vocabulary, length, self.kept)
        least = longest if longest and update.batch_size == 1 else 1
        ranked = self._likeliest(claims, (alone, together), candidates, end, least, rng)
        if longest and update.batch_size == 1:
            ranked = [one for one in ranked if len(one.tokens) == longest] or ranked
        if not ranked:
            return None

        def settled(sentences: Sequence[Sentence], targets: Tensor | None) -> Batch | None:
            known = claims.known(sentences)
            return claims.settled(known) if targets is None else known.batch(targets)

        judge = Judge(
            settle=settled,
            simulate=lambda batch: caused(update, batch, self.channel),
            sent=values,
            levels=told,
            left=self.simulations,
        )
        chosen = choose(judge, ranked, candidates, update.batch_size)
        notes: dict[str, object] = {
            "rank": [one.span.rank for one in (*alone, *together)],
            "gap": [one.span.gap for one in (*alone, *together)],
            "read": [one.reader.name for one in (*alone, *together)],
            "candidates": [len(tokens) for tokens in candidates],
            "found": len(ranked),
            "explained": judge(chosen)[1],
        }
        odds = {one.tokens: one.odds for one in ranked}
        found = [Found(tokens=one, distance=math.exp(-odds.get(one, 0.0) / len(one))) for one in chosen]
        return claims.guess(found, notes)


def _unread(seen: list[Seen], candidates: list[torch.Tensor]) -> NotApplicable:
    """Why no sequence was found."""
    for one in seen:
        if not one.clear:
            return unending(one)
    fitting = sum(map(len, candidates))
    return NotApplicable(
        f"no sequence lies in both spans: {fitting} tokens fit the first, at {len(candidates)} places",
        fix="raise the tolerance, if the gradient is not a plain one",
    )
