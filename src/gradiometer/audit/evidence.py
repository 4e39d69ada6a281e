"""Evidence: the finished trials, sorted by what they speak about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .modality import level_of
from .schema import Severity

Record = dict[str, Any]


class Case(NamedTuple):
    """One attack against one defense of one client."""

    client: str
    defense: str
    attack: str
    informed: bool


@dataclass(frozen=True)
class Evidence:
    """Records by what they speak about.

    Args:
        attacks: of every case, by batch; a batch that was not finished is missing.
        planned: how many batches every case should have.
        controls, decoys: by client and attack. prices: by client and defense.
        lost: of a case: why its process ended before a trial was done.
    """

    attacks: dict[Case, dict[int, Record]]
    planned: dict[Case, int]
    controls: dict[tuple[str, str], Record] = field(default_factory=dict)
    decoys: dict[tuple[str, str], Record] = field(default_factory=dict)
    prices: dict[tuple[str, str], Record] = field(default_factory=dict)
    lost: dict[Case, str] = field(default_factory=dict)

    @classmethod
    def of(cls, trials: Any, records: dict[str, Record], lost: dict[str, str]) -> Evidence:
        """Sorts the records of these trials."""
        found = cls({}, {})
        for trial in trials:
            record = records.get(trial.id)
            if trial.kind == "attack":
                case = Case(trial.client, trial.defense, trial.attack, trial.informed)
                found.planned[case] = found.planned.get(case, 0) + 1
                batches = found.attacks.setdefault(case, {})
                if record is not None:
                    batches[trial.batch] = record
                elif trial.id in lost:
                    found.lost[case] = lost[trial.id]
            elif record is not None:
                keys = {"control": found.controls, "decoy": found.decoys, "defense": found.prices}
                keys[trial.kind][trial.client, trial.defense if trial.kind == "defense" else trial.attack] = record
        return found

    def cases(self, client: str, defense: str) -> list[Case]:
        """Every attack that was planned against this defense."""
        return [case for case in self.attacks if (case.client, case.defense) == (client, defense)]

    def ok(self, case: Case) -> list[Record]:
        """The case's records in which the attack ran, by batch."""
        return [record for _, record in sorted(self.attacks[case].items()) if record["status"] == "ok"]

    def examples(self, case: Case, part: str = "examples") -> Iterator[tuple[int, dict[str, Any]]]:
        """Scores with their batch; `part` is `examples`, or `noise` for the guesses from pure noise."""
        for record in self.ok(case):
            for example in record.get(part, ()):
                yield record["batch"], example

    def levels(self, case: Case, batch: int, size: int, part: str = "examples") -> list[Severity]:
        """How gravely each of the batch's examples leaked by this case; an attack that did not run leaks nothing."""
        scores = self.attacks[case].get(batch, {}).get(part)
        return [level_of(score) for score in scores] if scores else ["none"] * size
