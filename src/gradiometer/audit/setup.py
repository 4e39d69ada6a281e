"""Setup: a plan with its objects built. Worker processes build the same one from the same plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gradiometer.core import Attack, Defense, Threat

from .plan import Plan, threat_of
from .sections import ClientSpec
from .spelling import build
from .targets import Victim, build_victim
from .written import label

UNDEFENDED = "none"


@dataclass(frozen=True, kw_only=True, eq=False)
class Setup:
    """The objects of a plan, by the labels that results call them.

    Args:
        defenses: the first is None, no defense, unless the plan leaves it out.
        live: some objects were given, not spelled, so that no other process can build them.
    """

    plan: Plan
    threat: Threat
    victims: dict[str, Victim]
    attacks: dict[str, Attack]
    defenses: dict[str, Defense | None]
    live: bool = False

    def attacks_on(self, client: str) -> list[str]:
        """Labels of the attacks that are tried on a client."""
        return _chosen(self._spec(client).attacks, self.attacks)

    def defenses_on(self, client: str) -> list[str]:
        """Labels of the defenses that a client is tried with; a captured update has the one that its sender had."""
        if self.victims[client].captured is not None:
            return [UNDEFENDED]
        named = self._spec(client).defenses
        return [name for name in self.defenses if name == UNDEFENDED or name in _chosen(named, self.defenses)]

    def _spec(self, client: str) -> ClientSpec:
        return self.plan.client[list(self.victims).index(client)]

    def attack(self, name: str, defense: str, informed: bool) -> Attack:
        """The attack as it meets this defense."""
        attack = self.attacks[name]
        guard = self.defenses[defense]
        adapted = guard.informed(attack, clients=self.threat.clients) if informed and guard is not None else None
        return attack if adapted is None else adapted


def _chosen(wanted: list[str] | None, known: Iterable[str]) -> list[str]:
    return [name for name in known if wanted is None or name in wanted or name.partition("(")[0] in wanted]


def set_up(
    plan: Plan,
    victims: Iterable[Victim] | None = None,
    attacks: Iterable[Attack] | None = None,
    defenses: Iterable[Defense] | None = None,
) -> Setup:
    """Builds what the plan spells.

    Args:
        victims, attacks, defenses: live objects in place of what the plan spells.

    Raises:
        BadConfig, BadInput: a client that cannot be built.
    """
    made = [build_victim(spec, plan) for spec in plan.client] if victims is None else list(victims)
    readers = [build(spec, "attack") for spec in plan.attack] if attacks is None else list(attacks)
    guards = [build(spec, "defense") for spec in plan.defense] if defenses is None else list(defenses)
    bare: dict[str, Defense | None] = {UNDEFENDED: None} if plan.audit.undefended or not guards else {}
    return Setup(
        plan=plan,
        threat=threat_of(plan),
        victims={victim.name: victim for victim in made},
        attacks={label(attack): attack for attack in readers},
        defenses=bare | {label(defense): defense for defense in guards},
        live=not (victims is None and attacks is None and defenses is None),
    )
