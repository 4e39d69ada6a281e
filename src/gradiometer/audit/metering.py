"""What exact attacks could do to a client's update, counted and read off its spectra before anything is attacked."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from gradiometer.core import Threat, Update
from gradiometer.numerics import meter as reading

from .modality import modality
from .schema import Meter, MeterLayer
from .targets import Victim, dry_round

ORDER = ("exact", "partial", "not")


@runtime_checkable
class Metered(Protocol):
    """An attack that predicts what it would reach."""

    def meter(self, update: Update) -> reading.Meter: ...


def metered(victim: Victim, threat: Threat) -> Meter | None:
    """The best reading of one undefended round; None where the threat withholds the model, or nothing can be read."""
    if not threat.model:
        return None
    try:
        update = victim.captured or dry_round(victim, threat)
        found = [(type(one).__name__, one.meter(update)) for one in _exact(modality(update.layout).many)]
    except Exception:  # a courtesy: whatever a user's own model or update does to it must not cost a finished audit
        return None
    if not found:
        return None
    attack, best = min(found, key=lambda one: ORDER.index(one[1].verdict))
    layers = [
        MeterLayer(
            where=layer.where,
            shape=list(layer.shape),
            unknowns=layer.unknowns,
            missing=layer.missing,
            rank=layer.rank,
            gap=layer.gap,
        )
        for layer in best.layers
    ]
    return Meter(
        verdict=best.verdict,
        reason=best.reason,
        examples=best.examples,
        layers=layers,
        attack=attack,
        noise=best.noise,
    )


def _exact(examples: str) -> tuple[Metered, ...]:
    """The attacks with a meter, by what they recover."""
    from gradiometer.attacks.image import SPEAR, Recursive
    from gradiometer.attacks.text import DAGER

    return {"pictures": (Recursive(), SPEAR()), "sentences": (DAGER(),)}.get(examples, ())
