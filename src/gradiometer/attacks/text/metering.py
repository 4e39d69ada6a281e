"""What DAGER is predicted to reach: from the singular values of the first block's gradients, and nothing is searched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from gradiometer.core import NotApplicable, Update, Values, derive, in_mode
from gradiometer.numerics.embedding_tables import find_tables
from gradiometer.numerics.meter import Meter, Reading, Verdict
from gradiometer.numerics.span import CLEAR, ROOM, STEP, Outline, outline

from . import listed
from .body import Reader, causal, readers
from .seeing import behind_noise

FRONT = 4
"""Inputs of linear maps that are looked at: those of one block."""
ROUNDED = 1e-5
"""Share of the gradient's norm above which what lies beside the span is no rounding of a single-precision client but noise."""
SPARSE = 0.2
"""Share of zeros, in rows and columns that are not all zero, from which on what is left combines the inputs no more."""
CHANCE = 3.0
"""Tokens that may pass by chance: most of them are denied by what would have to follow."""
TURNED, CROWDED = 0.6, 0.25
"""Sine of the angle by which known noise may have turned the weakest direction of a single sentence, and of several or of who knows how many.
On development batches single sentences were found up to 0.6, and batches of four lost from 0.3 on."""
SEVERAL = 4
"""Sentences of an encoder that the exchange of tokens mostly finds; more were not measured."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A reader and what its gradient's singular values tell.

    Args:
        sparse: whether entries were zeroed, one by one.
    """

    reader: Reader
    outline: Outline
    sparse: bool

    @property
    def clear(self) -> bool:
        """Whether the singular values show where the span ends; of one direction above noise they do not."""
        lone = self.outline.rank < 3 and self.outline.tail > ROUNDED
        return self.outline.gap >= CLEAR and not self.outline.full and not self.sparse and not lone

    @property
    def reading(self) -> Reading:
        room = min(self.outline.shape) - self.outline.rank
        return Reading(
            where=self.reader.name,
            shape=(self.reader.features,),
            unknowns=self.outline.rank,
            missing=max(0, ROOM - room),
            closed=False,
            rank=self.outline.rank,
            gap=self.outline.gap,
        )


def predict(update: Update, values: Values, *, scaled: bool, levels: Mapping[str, float]) -> Meter:
    """The meter of a text update.

    Tokens at their places follow where the span of what reads them alone ends clearly; sentences, where so does that of what reads
    them in their context, and tells at least as many apart. A gap g leaves a tolerance of 1 / g, so that of the T b tokens
    that are tried behind beginnings of b sentences with T tokens about T b / g pass by chance: a few may. Behind noise of known size sentences
    are ranked instead, and what counts is how far it turned the weakest directions.

    Args:
        scaled: whether a defense changed the gradient's size, from which a language model's last tokens follow.
        levels: standard deviation of an entry's noise in each tensor, where the attacker knows it.
    """
    model = update.need("model")
    try:
        with in_mode(model, "eval"):
            front, grows = readers(model, values, FRONT), causal(model, values, FRONT)
    except NotApplicable as refusal:
        return Meter(verdict="not", reason=refusal.message, examples=0, layers=())
    seen = [_seen(one, gradient) for one in front if (gradient := one.gradient(values)).any()]
    alone = [one for one in seen if not one.reader.contextual]
    together = [one for one in seen if one.reader.contextual]
    examples = update.batch_size or 0
    verdict, reason, noise = plain = _judged(alone, together, examples)
    if verdict != "exact":
        verdict, reason, noise = _ranked(update, front, values, levels, grows) or plain
    if verdict == "exact" and not grows and examples > SEVERAL:
        told = f"an encoder's {examples} sentences are put together by a search that often misses some"
        verdict, reason, noise = "partial", f"tokens are told at their places; {told}", None
    if verdict == "exact" and scaled and "y" not in update.layout:
        told = "the last ones follow from the gradient's size, which the defense changed"
        verdict, reason, noise = "partial", f"all tokens are told but those that are predicted last: {told}", None
    layers = tuple(one.reading for one in seen)
    return Meter(verdict=verdict, reason=reason, examples=0, layers=layers, noise=noise)  # a rank counts tokens


Judged = tuple[Verdict, str, tuple[float, float] | None]


def _judged(alone: list[Seen], together: list[Seen], examples: int) -> Judged:
    """The verdict, where it ends and why; of an exact one, the noise that it survives and the noise that ends it."""
    for part, what in ((alone, "alone"), (together, "in their context")):
        if not part:
            return "not", f"no gradient was sent of a map of the first block that reads tokens {what}", None
    first, second = _telling(alone), _telling(together)
    if not first.clear:
        return "not", _unclear(first), None
    tokens = second.outline.rank
    crowd = max(CLEAR, tokens * (examples or tokens**0.5) / CHANCE)
    if not second.clear:
        return "partial", f"tokens are told at their places, and {_unclear(second)}", None
    if tokens < first.outline.rank:
        told = f"{second.reader.name!r} tells {tokens} tokens apart in their context, and there are {first.outline.rank} or more"
        return "partial", f"tokens are told at their places; {told}", None
    if second.outline.gap < crowd:
        told = f"the gap of {second.reader.name!r}, {second.outline.gap:.0f}, lets other sentences pass where {tokens} tokens stand"
        return "partial", f"tokens are told at their places; {told}", None
    alike = [one.outline.drowns for one in together if one.outline.rank == tokens and one.clear]
    # Weak directions of tokens in their context go first; with those of tokens at their places everything is gone.
    ends = first.outline.drowns / STEP
    return "exact", "", (min(first.outline.drowns / CLEAR, max(alike) / crowd), ends)


def _ranked(
    update: Update, front: list[Reader], values: Values, levels: Mapping[str, float], grows: bool
) -> Judged | None:
    """The verdict on spans behind noise of known size; None where there is none.

    Of a single sentence whose tokens are listed by the embedding's gradient few orders are left, which are simulated one by one: it
    suffices that some map (of a decoder: behind the attention) shows as many directions as there are tokens, however far noise turned them.
    """
    seen = [
        found
        for one in front
        if all(name in levels for name in one.weights) and (found := behind_noise(one, values, levels))
    ]
    if not seen:
        return None
    seen = [one for one in seen if one.span.rank and not one.full]
    alone = min((one for one in seen if not one.reader.contextual), key=lambda one: one.widest, default=None)
    if alone is None:
        return "not", "noise covers the tokens at their places", None
    tables = find_tables(update)
    bag = listed.tokens(values, tables, levels)
    together = [one for one in seen if one.reader.contextual]
    if bag is not None:
        length = listed.places(values, tables, levels, update.layout["input_ids"].shape[0])
        single = update.batch_size == 1 or (update.batch_size is None and length is not None and len(bag) <= length)
        if single and max((one.span.rank for one in (together if grows else seen)), default=0) >= len(bag):
            return "exact", "", None
    if alone.widest > TURNED:
        return "not", "noise covers directions of the tokens at their places", None
    least = max(alone.span.rank, 0 if bag is None else len(bag))
    telling = min((one.widest for one in together if one.span.rank >= least), default=1.0)
    if telling > (TURNED if update.batch_size == 1 else CROWDED):
        return (
            "partial",
            "tokens are told at their places, and noise covers directions of tokens in their context",
            None,
        )
    return "exact", "", None


def _seen(reader: Reader, gradient: Tensor) -> Seen:
    hit = gradient != 0
    live = hit[hit.any(1)][:, hit.any(0)]
    zeros = 1 - float(live.float().mean())
    return Seen(reader=reader, outline=outline(gradient, derive(0, reader.name)), sparse=zeros > SPARSE)


def _telling(seen: list[Seen]) -> Seen:
    """The reader that tells most tokens apart; without a clear one, that with most room beside its span."""
    clear = [one for one in seen if one.clear]
    if clear:
        return max(clear, key=lambda one: one.outline.rank)
    return max(seen, key=lambda one: one.reader.features - one.outline.rank)


def _unclear(one: Seen) -> str:
    name, found = one.reader.name, one.outline
    if one.sparse:
        return f"the gradient of {name!r} has single entries of zero: what is left combines the inputs no more"
    if found.full:
        return f"the span of {name!r} fills its space: rank {found.rank} of {min(found.shape)}"
    return f"the gradient of {name!r} shows no end of its span: rank {found.rank} of {min(found.shape)}, gap {found.gap:.1f}"
