"""The gallery: the same best, median and worst example through every defense."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .evidence import Case, Evidence, Record
from .modality import judged_as, level_of
from .pictures import file_hash, nothing, png
from .schema import Check, Row
from .schema_shown import Picture
from .setup import Setup

Shown = dict[int, tuple[str, str]]


def gallery(setup: Setup, evidence: Evidence, rows: list[Row], folder: Path) -> tuple[list[Picture], list[Check]]:
    """Pictures of each client's strongest attack on every row; and whether their files are what the attacks returned."""
    pictures: list[Picture] = []
    damaged: list[str] = []
    if setup.plan.audit.gallery == "none":
        return pictures, []
    for client in setup.victims:
        mine = [row for row in rows if row.client == client]
        chosen: dict[str, tuple[int, int]] = {}
        for row in mine:
            case = strongest(evidence, row)
            if case is None:
                continue
            chosen = chosen or kinds(evidence, case)
            for kind, (batch, number) in chosen.items():
                record = evidence.attacks[case].get(batch)
                if record is not None and record["status"] == "ok":
                    pictures += _picture(case, kind, record, number, folder, damaged)
    text = ", ".join(damaged) or "every file has the hash that was recorded with the guess"
    return pictures, [Check(name="pictures are what attacks returned", ok=not damaged, detail=text)]


def claimed(evidence: Evidence, client: str, folder: Path) -> list[Picture]:
    """Pictures that attacks claim of a captured update; there is no truth to set them beside."""
    found = []
    for case in evidence.attacks:
        for record in evidence.ok(case) if case.client == client else ():
            if record.get("pictures"):
                guess = _load(folder / "gallery" / record["pictures"])["guess"][0]
                found.append(_entry(case, "best", record, "captured update", nothing(), png(guess), None))
    return found


def shown(
    setup: Setup, evidence: Evidence, rows: Sequence[Row], what: str
) -> Iterator[tuple[Case, str, Record, int, str]]:
    """What records keep of the same best, median and worst example through every defense; claims of a captured update.

    Args:
        what: `quotes` or `drawings`, one an example.

    Returns:
        Case, kind, record, the example's number in it, and the example in words.
    """
    for client, victim in setup.victims.items():
        if victim.data is None:
            for case in evidence.attacks:
                for record in evidence.ok(case) if case.client == client else ():
                    for i in range(len(record.get(what, ()))):
                        yield case, "best", record, i, "captured update"
            continue
        chosen: dict[str, tuple[int, int]] = {}
        for row in rows:
            best = strongest(evidence, row) if row.client == client else None
            if best is None:
                continue
            chosen = chosen or kinds(evidence, best)
            for kind, (batch, number) in chosen.items():
                record = evidence.attacks[best].get(batch, {})
                if number < len(record.get(what, ())):
                    yield best, kind, record, number, f"batch {batch}, example {number}"


def strongest(evidence: Evidence, row: Row) -> Case | None:
    """The row's worst attack; where nothing leaked, the one whose median example is best."""
    showing = [case for case in evidence.cases(row.client, row.defense) if any(True for _ in evidence.examples(case))]
    named = [case for case in showing if (case.attack, case.informed) == (row.worst_attack, row.worst_informed)]

    def height(case: Case) -> float:
        values = sorted(score[judged_as(score).quality] for _, score in evidence.examples(case))
        return float(values[len(values) // 2])

    return named[0] if named else max(showing, key=height, default=None)


def kinds(evidence: Evidence, case: Case) -> dict[str, tuple[int, int]]:
    """The batch and position of the examples that are recovered best, in the middle, and worst."""
    ranked = []
    for record in evidence.ok(case):
        ranked += [
            (score[judged_as(score).quality], record["batch"], i)
            for i, score in enumerate(record.get("examples", ()))
            if score["matched"]
        ]
    ranked.sort(reverse=True)
    places = dict(zip(("best", "median", "worst"), (0, len(ranked) // 2, -1))) if ranked else {}
    return {kind: ranked[place][1:] for kind, place in places.items()}


def _picture(case: Case, kind: Any, record: Record, number: int, folder: Path, damaged: list[str]) -> list[Picture]:
    name = record.get("pictures")
    if not name:
        return []
    path = folder / "gallery" / name
    if not path.exists() or file_hash(path) != record["pictures_hash"]:
        damaged.append(f"gallery/{name}")
        return []
    stored = _load(path)
    where = (stored["example"] == number).nonzero().flatten().tolist()
    if not where or number >= len(record.get("examples", ())):
        return []
    truth, guess = png(stored["truth"][where[0]]), png(stored["guess"][where[0]])
    return [
        _entry(
            case, kind, record, f"batch {record['batch']}, example {number}", truth, guess, record["examples"][number]
        )
    ]


def _entry(
    case: Case, kind: Any, record: Record, example: str, truth: str, guess: str, score: Record | None
) -> Picture:
    return Picture(
        **case._asdict(),
        kind=kind,
        example=example,
        truth=truth,
        guess=guess,
        blurred=record["blurred"],
        psnr=None if score is None else score["psnr"],
        leaked=score is not None and level_of(score) != "none",
    )


def _load(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(path)
