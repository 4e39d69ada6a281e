"""The attacks x defenses table: what every attack got through every defense, without and with knowledge of it."""

from __future__ import annotations

from dataclasses import dataclass

from gradiometer.audit.schema import Cell, Result, Status

from .figures import percent, share_interval
from .words import STATUS_WORDS, defense_name, headline_figure

SHORT: dict[Status, str] = {
    "ok": "ran",
    "not_applicable": "n/a",
    "missing_knowledge": "no access",
    "failed": "failed",
    "skipped": "skipped",
    "inconclusive": "?",
}
STEPS = (0.1, 0.25, 0.5, 0.75)


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One attacker in one place of the table.

    Args:
        look: `heat0` (nothing) to `heat5` (all), or the status whose pattern it wears.
        text: what stands in it; color never carries it alone.
        detail: the whole story, for tooltips and screen readers.
    """

    look: str
    text: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """One client's table.

    Args:
        columns: the defenses, each with its attackers: `naive`, and `informed` where one was tried.
        lines: an attack, what its figures count, and a tile for every attacker of every defense.
    """

    client: str
    columns: list[tuple[str, list[str]]]
    lines: list[tuple[str, str, list[Tile]]]


def heat_maps(result: Result) -> list[HeatMap]:
    """A table for every client that has cells."""
    return [heat_map(result, client) for client in dict.fromkeys(cell.client for cell in result.cells)]


def heat_map(result: Result, client: str) -> HeatMap:
    """Attacks and defenses stand in the order of the plan."""
    cells = {(c.attack, c.defense, c.informed): c for c in result.cells if c.client == client}
    rows = [row.defense for row in result.rows if row.client == client]
    defenses = dict.fromkeys([*rows, *(defense for _, defense, _ in cells)])
    tried = {defense: sorted({informed for _, d, informed in cells if d == defense}) for defense in defenses}
    lines = []
    for attack in dict.fromkeys(attack for attack, _, _ in cells):
        found = [cells.get((attack, defense, informed)) for defense in defenses for informed in tried[defense]]
        counted = {headline_figure(cell)[0] for cell in found if cell is not None} - {""}
        lines.append(
            (attack, " or ".join(sorted(counted)), [NOT_RUN if cell is None else tile(cell) for cell in found])
        )
    columns = [(defense_name(d), [attacker(informed) for informed in tried[d]]) for d in defenses if tried[d]]
    return HeatMap(client=client, columns=columns, lines=lines)


def attacker(informed: bool) -> str:
    """The naive attacker does not know the defense, the informed one does."""
    return "informed" if informed else "naive"


def silences(result: Result) -> list[str]:
    """Why some places hold no figure, once for all places that share attacks and reason."""
    places: dict[tuple[str, str, bool, Status, str], list[str]] = {}
    for cell in result.cells:
        if cell.status != "ok":
            place = (cell.client, cell.defense, cell.informed, cell.status, cell.reason)
            places.setdefault(place, []).append(cell.attack)
    shared: dict[tuple[str, tuple[str, ...], Status, str], dict[str, list[str]]] = {}
    for (client, defense, informed, status, reason), attacks in places.items():
        defenses = shared.setdefault((client, tuple(attacks), status, reason), {})
        defenses.setdefault(defense_name(defense), []).append(attacker(informed))
    several = len({cell.client for cell in result.cells}) > 1
    return [
        f"{', '.join(attacks)} against {'; '.join(f'{d} ({who})' for d, who in _joined(defenses))}"
        f"{', ' + client if several else ''}: {STATUS_WORDS[status]}{', ' + reason if reason else ''}"
        for (client, attacks, status, reason), defenses in shared.items()
    ]


def generators(result: Result) -> list[Cell]:
    """Cells of attacks that draw on what they know of pictures: they are read beside what they show without the update."""
    return [cell for cell in result.cells if cell.generative and cell.psnr is not None]


def _joined(defenses: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(defense, " and ".join(attackers)) for defense, attackers in defenses.items()]


def tile(cell: Cell) -> Tile:
    """How a cell looks. Only what was measured gets a heat; everything else wears its own pattern and says why."""
    what, estimate = headline_figure(cell)
    story = (
        f"{cell.attack} ({attacker(cell.informed)}) against {defense_name(cell.defense)}: {STATUS_WORDS[cell.status]}"
    )
    if estimate is not None:
        story += f", {what} {share_interval(estimate)}"
    blind = _blind(cell)
    if blind:
        story += f", blind {percent(blind)}"
    if cell.reason:
        story += f". {cell.reason}"
    if cell.status != "ok" or estimate is None:
        text = SHORT[cell.status]
        if cell.status == "inconclusive" and estimate is not None:
            text = f"? {percent(estimate.value)}"
        look = cell.status if cell.status != "ok" else "inconclusive"
        return Tile(look=look, text=text, detail=story)
    over = max(0.0, (estimate.value - blind) / (1 - blind)) if blind < 1 else 0.0
    heat = 0 if over <= 0 else 1 + sum(over >= step for step in STEPS)
    return Tile(look=f"heat{heat}", text=percent(estimate.value), detail=story)


NOT_RUN = Tile(look="skipped", text="not run", detail="this pair was not part of the plan")


def _blind(cell: Cell) -> float:
    if cell.rate is not None:
        return cell.blind_rate or 0.0
    if cell.auc is not None:
        return 0.5
    blind = cell.blind_labels if cell.labels is not None else cell.blind_words
    return blind.value if blind is not None else 0.0
