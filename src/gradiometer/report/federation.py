"""A training and an audit of the same federation as one page: who can be seen, what is told, what it costs, what to deploy."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gradiometer.audit.schema import Cell, Estimate, Result, Row
from gradiometer.audit.schema_training import Trained, TrainingResult

from . import figures, training, words
from .html import context, environment

SUM = "secure aggregation"
"""What the choice is called that shows the server the sum alone."""
GUESSING = 0.5
"""AUC of whoever sees nothing."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One defense in the order in which it should be considered.

    Args:
        holds, leaks, of: clients whose pictures it is shown to hide, or to show; of how many.
        rate: of the client that leaks most. told: the strongest answer to whether something is there, and whose.
        kept: share of the undefended accuracy. worth: see `training.worth`.
    """

    defense: str
    holds: int
    leaks: int
    of: int
    rate: Estimate | None
    worst: str
    told: tuple[str, Estimate] | None
    kept: float | None
    worth: bool | None
    run: Trained | None

    @property
    def learns(self) -> bool:
        """Whether the federation still learns, as far as was measured."""
        return self.kept is not None and self.kept >= training.ENOUGH and self.worth is not False

    @property
    def reason(self) -> str:
        """What decides its place."""
        if self.leaks:
            seen = f"pictures of {self.leaks} of {self.of} clients can be seen"
        elif self.holds == self.of:
            seen = "pictures are shown to stay private"
        else:
            seen = "no picture was recovered, which so few examples do not settle"
        if self.kept is None:
            return f"{seen}; training learned nothing to compare"
        if self.learns:
            learned = "learning goes on"
        elif self.kept >= training.ENOUGH:
            learned = "a member alone learns as much"
        else:
            learned = f"{figures.percent(self.kept)} of the accuracy is left"
        return f"{seen}; {learned}"


def render_federation(result: Result, trained: TrainingResult, *, summed: str | None = None) -> str:
    """The page; of every client the attacker's best picture. Both must be of one plan, so that defenses have the same names.

    Args:
        summed: the client whose undefended updates are what secure aggregation over the others shows.
    """
    told = context(result)
    told |= {
        "galleries": [replace(shown, lines=shown.lines[:1]) for shown in told["galleries"]],
        "choices": choices(result, trained, summed=summed),
        "summed": summed,
        "presence": presence(result),
        "t": trained,
    } | training.section(trained)
    return environment().get_template("federation.html").render(told)


def choices(result: Result, trained: TrainingResult, *, summed: str | None = None) -> list[Choice]:
    """Every defense, best first: fewest clients whose pictures can be seen; then those with which training learns; then most
    clients for which it is shown to hold, the least leak rate, the least told, and the most accuracy."""
    mine = [row for row in result.rows if row.client != summed]
    groups = {name: [row for row in mine if row.defense == name] for name in dict.fromkeys(row.defense for row in mine)}
    found = [_choice(name, name, rows, result, trained) for name, rows in groups.items()]
    total = [row for row in result.rows if row.client == summed and words.is_undefended(row.defense)]
    if total:
        found.append(_choice(SUM, total[0].defense, total, result, trained))

    def place(choice: Choice) -> tuple[float | int, ...]:
        told = (
            max(GUESSING, choice.told[1].lower) if choice.told else GUESSING
        )  # what is shown, not what few answers say
        rate = choice.rate.value if choice.rate else 1.0
        shown = choice.holds / choice.of
        return choice.leaks / choice.of, not choice.learns, -shown, rate, round(told, 2), -(choice.kept or 0.0)

    return sorted(found, key=place)


def _choice(shown: str, name: str, rows: list[Row], result: Result, trained: TrainingResult) -> Choice:
    """Args: name: of the defense in cells and trainings."""
    clients = {row.client for row in rows}
    run = next((one for one in trained.runs if one.defense == name), None)
    worst = max(rows, key=lambda row: row.rate.value if row.rate else -1.0)
    cells = [c for c in result.cells if c.defense == name and c.client in clients and c.status == "ok"]
    return Choice(
        defense=shown,
        holds=sum(row.verdict == "HOLDS" for row in rows),
        leaks=sum(row.verdict == "LEAKS" for row in rows),
        of=len(rows),
        rate=worst.rate,
        worst=worst.client,
        told=max(((c.attack, c.auc) for c in cells if c.auc), key=lambda pair: pair[1].value, default=None),
        kept=None if run is None or not _learned(trained) else training.kept(trained, run),
        worth=None if run is None else training.worth(trained, run),
        run=run,
    )


def _learned(trained: TrainingResult) -> bool:
    """Whether the undefended training beats always naming the commonest class; if not, its accuracies compare nothing."""
    bare = next((run.accuracy for run in trained.runs if words.is_undefended(run.defense)), None)
    return bare is not None and bare.lower > (trained.majority or 0.0)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What presence attacks told of one client behind one defense: the stronger of naive and informed."""

    attack: str
    informed: bool
    figure: str
    estimate: Estimate
    blind: float


def presence(result: Result) -> list[tuple[str, list[tuple[str, list[Told]]]]]:
    """For every client and defense, the answers of attacks that say whether something is there."""
    found = []
    for client in words.clients_of(result):
        lines = []
        for defense in dict.fromkeys(row.defense for row in result.rows if row.client == client):
            cells = [c for c in result.cells if (c.client, c.defense) == (client, defense) and _tells(c)]
            lines.append((defense, [_told(cells, attack) for attack in dict.fromkeys(c.attack for c in cells)]))
        found.append((client, lines))
    return found


def _tells(cell: Cell) -> bool:
    return (
        cell.status == "ok" and cell.labels is not None and cell.attack.startswith(("RareClass", "PropertyInference"))
    )


def _told(cells: list[Cell], attack: str) -> Told:
    def strength(cell: Cell) -> float:
        return words.headline_figure(cell)[1].value  # type: ignore[union-attr]

    best = max((cell for cell in cells if cell.attack == attack), key=strength)
    name, estimate = words.headline_figure(best)
    assert estimate is not None
    kind = "AUC" if name == "AUC" else "right answers"
    blind = GUESSING if name == "AUC" or best.blind_labels is None else best.blind_labels.value
    return Told(attack=attack, informed=best.informed, figure=kind, estimate=estimate, blind=blind)
