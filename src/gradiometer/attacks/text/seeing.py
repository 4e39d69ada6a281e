"""What a text gradient shows: the spans of its maps' inputs, before and behind the first attention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.core import NotApplicable, Values
from gradiometer.numerics.span import CLEAR, ROOM, Span, edge, span
from gradiometer.numerics.spiked import above, deviation, turned

from .body import Body, Reader

LEAST = 1e-6
"""Smallest tolerance of a distance to a span: the attacker's own rounding."""
BLURRED = 0.05
"""Tolerance where the singular values show no gap or weights drift. On development sentences, after several local steps, what
entered lay within 0.04 (the median within 1e-4), and other tokens beyond 0.1."""
AMPLE = 100.0
"""A gap that leaves a tolerance of a hundredth: beyond it, of thousands of sequences that are tried, few pass by chance."""
SLACK, TINY = 2.0, 1e-30
"""How far a distance may be from what noise makes of it on average, and the least squared length."""
QUIET = 5e-7
"""Noise below this share of the gradient's root mean square is a float32 client's rounding, which is not white."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """A reader and the span of what entered it.

    Args:
        tolerance: the largest distance (a sine) from the span that rounding explains for what is in it.
        blur: [rank], squared tangent of the angle by which noise turned each direction of the span; None: by none.
    """

    reader: Reader
    span: Span
    tolerance: float
    blur: Tensor | None = None

    @property
    def full(self) -> bool:
        """Whether the gradient has all the rank it can have: it then shows a part of what entered, or denies nothing."""
        return self.span.rank > min(self.reader.features, len(self.span.left)) - ROOM

    @property
    def clear(self) -> bool:
        """Whether the singular values show where the span ends; in white noise, whether it left all directions something to tell."""
        return (
            self.span.rank > 0 and not self.full and (self.span.gap >= CLEAR if self.blur is None else self.widest < 1)
        )

    @property
    def widest(self) -> float:
        """The largest distance of anything that may have entered: of what lies along the weakest direction."""
        blur = 0.0 if self.blur is None or not self.span.rank else float(self.blur.max())
        return min(1.0, (self.tolerance**2 + SLACK**2 * blur) ** 0.5)

    def distance(self, rows: Tensor) -> Tensor:
        """Of inputs [..., features] to the span, in units of the tolerance: 1 or less says that they entered; [...].

        What lies along the directions v_i of a noisy span, with shares a_i of its length, is beside it by `sum a_i^2 tan^2 phi_i`, squared.
        """
        flat = rows.flatten(0, -2)
        sines = self.span.distance(flat)
        if self.blur is None:
            return (sines / self.tolerance).reshape(rows.shape[:-1])
        shares = (flat @ self.span.right.T).square() / flat.square().sum(1, keepdim=True).clamp_min(TINY)
        room = 1 - self.span.rank / self.reader.features
        limit = self.tolerance**2 + SLACK**2 * room * (shares @ self.blur)
        return (sines / limit.sqrt()).reshape(rows.shape[:-1])


def behind_noise(reader: Reader, values: Values, levels: Mapping[str, float] | None = None) -> Seen | None:
    """The span of a reader's inputs where white noise lies on its gradient: all directions that stand above it.

    Args:
        levels: standard deviation of an entry's noise, of each weight; None: as the singular values tell it.

    Returns:
        None where there is no noise, or none that is white: rounding, or what drifts.
    """
    parts = reader.parts(values)
    if levels is None:
        told = [deviation(torch.linalg.svdvals(part), _shape(part)) for part in parts]
    else:
        told = [levels[name] for name in reader.weights]
    noisy = [(part / level, part) for part, level in zip(parts, told) if level]
    if len(noisy) < len(parts) or any(float(white.norm()) > float(white.numel()) ** 0.5 / QUIET for white, _ in noisy):
        return None
    gradient = torch.cat([white for white, _ in noisy])
    shape = _shape(gradient)
    found = span(gradient, rank=lambda values: above(values, shape, 1.0))
    return Seen(reader=reader, span=found, tolerance=LEAST, blur=turned(found.values, shape))


def look(reader: Reader, values: Values, tolerance: float | None, drifts: bool) -> Seen:
    """The span of a reader's inputs.

    Where white noise lies on the gradient, its level tells the tolerance of every input, unless one is given. Otherwise an error
    of relative size e turns a direction of size s by about e / s: the tolerance is the inverse of the gap at the span's edge. Where
    there is no gap, or inputs drift with the weights, it is a fixed one.
    """
    if tolerance is None and not drifts and (noisy := behind_noise(reader, values)):
        return noisy
    found = span(reader.gradient(values), rank=edge)
    told = BLURRED if drifts or found.gap < CLEAR else max(LEAST, 1 / found.gap)
    return Seen(reader=reader, span=found, tolerance=tolerance or told)


def _shape(matrix: Tensor) -> tuple[int, int]:
    return matrix.shape[0], matrix.shape[1]


def before_and_behind(body: Body, values: Values, *, tolerance: float | None, drifts: bool) -> tuple[Seen, Seen]:
    """What is seen of tokens at their positions, and of tokens in their context.

    Of several readers the one that tells most tokens apart counts: the derivatives of a last block's maps leave tokens out.
    Without a gap, ranks tell nothing, and the one with most room beside its span counts.

    Args:
        drifts: whether the weights changed while the gradient was taken.

    Raises:
        NotApplicable: no such maps were sent, or the batch fills up their spans.
    """
    readers = [one for one in body.readers(values) if bool(one.gradient(values).any())]
    seen = [look(one, values, tolerance, drifts) for one in readers]
    kinds = [[one for one in seen if one.reader.contextual == kind] for kind in (False, True)]
    for part, what in zip(kinds, ("alone", "in their context")):
        if not part:
            raise NotApplicable(
                f"the update holds no gradient of a linear map that reads tokens {what}",
                fix="the attack needs the gradients of an attention's first map and of one behind it (or of adapters there)",
            )
        if all(one.full for one in part):
            raise unending(part[0])
    alone, together = (_telling([one for one in part if not one.full]) for part in kinds)
    return alone, together


def unending(seen: Seen) -> NotApplicable:
    """The refusal of a span that fills its space, or whose end noise covers."""
    return NotApplicable(
        f"the gradient of {seen.reader.name!r} shows no end of its span: rank {seen.span.rank} of "
        f"{seen.reader.features}, largest gap {seen.span.gap:.1f}",
        fix="the batch has as many tokens as the model is wide, or noise or local steps cover the gradient",
    )


def _telling(seen: list[Seen]) -> Seen:
    clear = [one for one in seen if one.clear]
    if clear:
        most = max(one.span.rank for one in clear)
        equals = [one for one in clear if one.span.rank == most]
        # The first whose gap lets few others pass has the least model before it.
        return next((one for one in equals if one.span.gap >= AMPLE), max(equals, key=lambda one: one.span.gap))
    return max(seen, key=lambda one: one.reader.features - one.span.rank)


def fits(body: Body, seen: Seen, vocabulary: Tensor, length: int, rng: torch.Generator) -> list[Tensor]:
    """The tokens that can have stood at each position, by the span of what reads tokens alone.

    Every token is tried at every position, first in single precision along a few random directions beside the span, which sorts
    out all but a handful, then in double precision. The search ends at the first position where nothing fits.

    Args:
        vocabulary: the tokens that there may be, rising. length: how many a sequence has at most.

    Returns:
        for each position the tokens, rising.
    """
    sketch = seen.span.beside(SKETCH, rng)
    found = list[Tensor]()
    for place in range(length):
        tokens = _at(body, seen, vocabulary, place, sketch)
        if not len(tokens):
            break
        found.append(tokens)
    return found


SKETCH, CHUNK = 16, 2**18
"""Directions of the first look, and how many numbers are looked at at once: few enough for the cache."""


def _at(body: Body, seen: Seen, vocabulary: Tensor, place: int, sketch: Tensor) -> Tensor:
    # What lies beside the span at an angle of sine t has a part of about t in each direction, times sqrt(1 / complement).
    missing = seen.reader.features - seen.span.rank
    limit = 4 * (seen.widest + 1e-4) * (SKETCH / missing) ** 0.5
    single, near = sketch.float().T.contiguous(), list[Tensor]()

    def inputs(tokens: Tensor, dtype: torch.dtype) -> Tensor:
        ids = tokens[:, None]
        return body.inputs(ids, None, seen.reader, positions=torch.full_like(ids, place), dtype=dtype)[:, 0]

    for tokens in vocabulary.split(max(1, CHUNK // seen.reader.features)):
        x = inputs(tokens, torch.float32)
        near.append(tokens[(x @ single).norm(dim=1) < limit * x.norm(dim=1)])
    kept = torch.cat(near)
    if not len(kept):
        return kept
    inside = [seen.distance(inputs(tokens, torch.float64)) <= 1 for tokens in kept.split(CHUNK // seen.reader.features)]
    return kept[torch.cat(inside)]
