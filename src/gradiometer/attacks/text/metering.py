"""What DAGER is predicted to reach: from the singular values of the first block's gradients, and nothing is searched."""

from __future__ import annotations

from dataclasses import dataclass

from gradiometer.core import Update, Values, derive, in_mode
from gradiometer.numerics.meter import Meter, Reading
from gradiometer.numerics.span import CLEAR, Outline, outline

from .body import Reader, readers

FRONT = 4
"""Inputs of linear maps that are looked at: those of one block."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A reader and what its gradient's singular values tell."""

    reader: Reader
    outline: Outline

    @property
    def clear(self) -> bool:
        """Whether the singular values show where the span ends."""
        return self.outline.gap >= CLEAR and not self.outline.full

    @property
    def reading(self) -> Reading:
        one = self.outline
        return Reading(
            where=self.reader.name,
            shape=(self.reader.features,),
            unknowns=one.rank,
            missing=0 if self.clear else max(0, one.rank - min(one.shape) + 4),
            closed=False,
            rank=one.rank,
            gap=one.gap,
        )


def predict(update: Update, values: Values) -> Meter:
    """The meter of a text update."""
    model = update.need("model")
    with in_mode(model, "eval"):
        front = readers(model, values, FRONT)
    seen = [Seen(reader=one, outline=outline(one.gradient(values), derive(0, one.name))) for one in front]
    alone = [one for one in seen if not one.reader.contextual]
    together = [one for one in seen if one.reader.contextual]
    layers = tuple(one.reading for one in seen)
    if not alone or not together:
        return Meter(verdict="not", reason="nothing", examples=0, layers=layers)
    a, t = _telling(alone), _telling(together)
    ok = a.clear and t.clear and t.outline.rank >= a.outline.rank
    return Meter(
        verdict="exact" if ok else "partial" if a.clear else "not",
        reason=f"{a.reader.name} {a.outline.rank}/{min(a.outline.shape)} gap {a.outline.gap:.3g} least {a.outline.least:.2g}; {t.reader.name} {t.outline.rank}/{min(t.outline.shape)} gap {t.outline.gap:.3g} least {t.outline.least:.2g}",
        examples=0,
        layers=layers,
        noise=min(a.outline.drowns, t.outline.drowns),
    )


def _telling(seen: list[Seen]) -> Seen:
    clear = [one for one in seen if one.clear]
    if clear:
        return max(clear, key=lambda one: one.outline.rank)
    return max(seen, key=lambda one: one.reader.features - one.outline.rank)
