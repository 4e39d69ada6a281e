"""The gallery as a table: a line a kind (best, median, worst for the attacker), a column a defense."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gradiometer.audit.schema import Result
from gradiometer.audit.schema_shown import Picture

from .words import KINDS, defense_name, is_undefended

PICTURE_BYTES = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Line:
    """One kind: the truth, and what came through every defense (None: no picture).

    Where a defense's picture shows another example than the line's truth, it brings its own truth along.
    """

    kind: str
    truth: Picture
    guesses: list[Picture | None]

    def foreign(self, picture: Picture) -> bool:
        return picture.truth != self.truth.truth


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """One client's pictures. `left_out` counts those that a file of limited size had no room for."""

    client: str
    defenses: list[str]
    lines: list[Line]
    blurred: bool
    left_out: int = 0


def galleries(result: Result, limit: int = PICTURE_BYTES) -> list[Gallery]:
    """A gallery for every client that has pictures, in the plan's order, until `limit` bytes of pictures are used."""
    found = []
    for client in dict.fromkeys(picture.client for picture in result.gallery):
        gallery = _gallery(result, client)
        lines, left_out = [], 0
        for line in gallery.lines:
            cost = _cost(line)
            if cost <= limit:
                lines.append(line)
                limit -= cost
            else:
                left_out += 1 + sum(guess is not None for guess in line.guesses)
        found.append(replace(gallery, lines=lines, left_out=left_out))
    return found


def _gallery(result: Result, client: str) -> Gallery:
    pictures = [picture for picture in result.gallery if picture.client == client]
    shown = {picture.defense for picture in pictures}
    order = [row.defense for row in result.rows if row.client == client]
    defenses = sorted(
        (name for name in dict.fromkeys([*order, *(p.defense for p in pictures)]) if name in shown),
        key=lambda name: not is_undefended(name),
    )
    lines = []
    for kind in KINDS:
        of_kind = sorted((p for p in pictures if p.kind == kind), key=lambda p: (p.leaked, p.psnr or 0.0))
        chosen = {picture.defense: picture for picture in of_kind}  # where several attacks show one, the closest stays
        if chosen:
            guesses = [chosen.get(name) for name in defenses]
            truth = next(guess for guess in guesses if guess is not None)
            lines.append(Line(kind=kind, truth=truth, guesses=guesses))
    return Gallery(
        client=client,
        defenses=[defense_name(name) for name in defenses],
        lines=lines,
        blurred=any(picture.blurred for picture in pictures),
    )


def _cost(line: Line) -> int:
    shown = [guess for guess in line.guesses if guess is not None]
    return len(line.truth.truth) + sum(len(p.guess) + (len(p.truth) if line.foreign(p) else 0) for p in shown)
