"""Trials: the grid of an audit. A trial is one line of `results.jsonl`, and depends on nothing but what its id hashes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from gradiometer.core import Defense

from .plan import digest
from .schema import SCHEMA_VERSION
from .setup import UNDEFENDED, Setup
from .spelling import spell

Kind = Literal["control", "defense", "decoy", "attack"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One computation of the audit.

    Args:
        kind: `attack` (one attack on one batch), `control` (the attack on an easy victim), `decoy` (the attack on an
            update that has nothing to do with the truth), `defense` (what a defense does and costs).
        client, defense, attack: labels, as results call them.
        informed: the attacker knows the defense.
        batch: which of the client's batches.
    """

    id: str
    kind: Kind
    client: str
    defense: str = UNDEFENDED
    attack: str = ""
    informed: bool = False
    batch: int = 0

    def __str__(self) -> str:
        parts = [self.client, self.defense, self.attack, "informed" if self.informed else "", f"batch {self.batch}"]
        return f"{self.kind}: " + ", ".join(part for part in parts if part)


def grid(setup: Setup) -> list[Trial]:
    """Every trial, in the order in which a short budget is best spent: checks first, then batch by batch."""
    return list(_grid(setup))


def _grid(setup: Setup) -> Iterator[Trial]:
    for name, victim in setup.victims.items():
        attacks, defenses = setup.attacks_on(name), setup.defenses_on(name)
        if setup.plan.audit.controls:
            for attack in attacks:
                yield _trial(setup, "control", name, attack=attack)
        if victim.data is not None and victim.captured is None:
            # Where this client has no defense, and others do, nothing is to be priced.
            for defense in defenses if defenses != [UNDEFENDED] or not setup.plan.defense else ():
                yield _trial(setup, "defense", name, defense=defense)
            if len(victim.batches) > 1:
                for attack in attacks:
                    yield _trial(setup, "decoy", name, attack=attack)
    for number in range(max(len(victim.batches) for victim in setup.victims.values())):
        for name, victim in setup.victims.items():
            if number >= len(victim.batches):
                continue
            for defense in setup.defenses_on(name):
                for attack in setup.attacks_on(name):
                    yield _trial(setup, "attack", name, defense=defense, attack=attack, batch=number)
                    if setup.plan.audit.informed and informs(setup.defenses[defense], setup, attack):
                        yield _trial(setup, "attack", name, defense=defense, attack=attack, batch=number, informed=True)


def informs(defense: Defense | None, setup: Setup, attack: str) -> bool:
    """Whether knowing this defense changes this attack."""
    return defense is not None and defense.informed(setup.attacks[attack], clients=setup.threat.clients) is not None


def _trial(
    setup: Setup,
    kind: Kind,
    client: str,
    *,
    defense: str = UNDEFENDED,
    attack: str = "",
    informed: bool = False,
    batch: int = 0,
) -> Trial:
    plan, guard = setup.plan, setup.defenses.get(defense)
    index = list(setup.victims).index(client)
    told = [
        SCHEMA_VERSION,
        kind,
        plan.seed,
        plan.threat,
        plan.client[index].model_dump(mode="json"),
        None if guard is None else spell(guard),
        spell(setup.attacks[attack]) if attack else None,
        informed,
        batch,
        plan.audit.candidates,
        plan.utility.model_dump() if kind == "defense" else None,
    ]
    return Trial(
        id=digest(told), kind=kind, client=client, defense=defense, attack=attack, informed=informed, batch=batch
    )
