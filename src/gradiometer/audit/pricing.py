"""What a defense does to an update and what it costs: bytes, seconds, accuracy, epsilon."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gradiometer.core import Batch, Threat, Unsupported, derive
from gradiometer.federation import federate

from .modality import modality
from .setup import UNDEFENDED, Setup
from .targets import Victim

LOOKS = 3


def price(setup: Setup, victim: Victim, name: str) -> dict[str, Any]:
    """Figures of one defense on one client.

    Returns:
        `copies`: attacked examples that are public as well. `changed`: of the rounds looked at, in how many the observer saw something else than without the defense.
        `random`: two rounds of the same batch differ. `bytes`, `raw_bytes`, `epsilon`, and `training`.
    """
    defense, seen_by = setup.defenses[name], Threat(clients=setup.threat.clients)
    rounds = range(min(LOOKS, len(victim.batches)))
    raw = [_sent(setup, victim, i, UNDEFENDED, 0) for i in rounds]
    seen = [_sent(setup, victim, i, name, 0) for i in rounds]
    again = _sent(setup, victim, 0, name, 1)
    honest = _sent(setup, victim, 0, UNDEFENDED, 1)
    return {
        "looked": len(rounds),
        "changed": sum(not _equal(a.values, b.values) for a, b in zip(raw, seen)),
        "copies": _copies(victim),
        "random": not _equal(seen[0].values, again.values) and _equal(raw[0].values, honest.values),
        "bytes": seen[0].wire_bytes,
        "raw_bytes": raw[0].wire_bytes,
        "epsilon": None if defense is None else defense.epsilon(recipe=victim.client.recipe, threat=seen_by),
        "training": _trained(setup, victim, name),
    }


def _sent(setup: Setup, victim: Victim, number: int, name: str, draw: int) -> Any:
    """The update of one round; the client's own randomness is the same for every defense."""
    rng = derive(setup.plan.seed, "price", victim.name, number, draw)
    defense = setup.defenses.get(name)
    return victim.play(number, rng=rng, threat=setup.threat, defense=defense)


def _equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def _copies(victim: Victim) -> int:
    """How many attacked examples are among the public ones too."""
    data = victim.data
    kind = None if data is None else modality(data.layout)
    if data is None or kind is None or data.public is None or kind.field not in data.public:
        return 0
    known = set(kind.prints(data.public))
    return sum(one in known for one in kind.prints(data.private.take([i for batch in victim.batches for i in batch])))


def _trained(setup: Setup, victim: Victim, name: str) -> dict[str, Any] | None:
    """Accuracy of a short federated training; None where there is nothing to measure it on."""
    settings, data = setup.plan.utility, victim.data
    if not settings.rounds or data is None or data.test is None or "y" not in data.test or data.test["y"].ndim > 1:
        return None
    train: Batch = data.public if data.public is not None else data.private
    client = replace(victim.client, recipe=replace(victim.client.recipe, examples=settings.batch_size))
    try:
        done = federate(
            client,
            train,
            data.test,
            defense=setup.defenses[name],
            clients=settings.clients,
            rounds=settings.rounds,
            lr=settings.lr,
            alpha=settings.alpha,
            seed=setup.plan.seed,
        )
    except Unsupported:
        return None
    told = {"correct": done.correct, "tested": done.tested, "majority": done.majority, "accuracy": list(done.accuracy)}
    return told | {"seconds": done.defense_seconds, "uplink_bytes": done.uplink_bytes}
