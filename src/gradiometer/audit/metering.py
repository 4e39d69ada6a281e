"""What exact recursion could do to a client's update, counted and read off its spectra before anything is attacked."""

from __future__ import annotations

from gradiometer.core import Threat

from .schema import Meter, MeterLayer
from .targets import Victim, dry_round


def metered(victim: Victim, threat: Threat) -> Meter | None:
    """The meter's reading of one undefended round; None where the threat withholds the model, or nothing can be read."""
    from gradiometer.attacks.image import Recursive

    if not threat.model:
        return None
    try:
        found = Recursive().meter(dry_round(victim, threat))
    except Exception:  # a courtesy: whatever a user's own model or update does to it must not cost a finished audit
        return None
    layers = [
        MeterLayer(
            where=layer.where,
            shape=list(layer.shape),
            unknowns=layer.unknowns,
            missing=layer.missing,
            rank=layer.rank,
            gap=layer.gap,
        )
        for layer in found.layers
    ]
    return Meter(verdict=found.verdict, reason=found.reason, examples=found.examples, layers=layers)
