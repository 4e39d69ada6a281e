"""Card: who published a method and what it needs. Catalogue pages, `list` and reports are generated from cards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class Card:
    """The identity of an attack, defense, guard, model or data set.

    Args:
        summary: one sentence, what it does.
        title, authors, year, arxiv: the source; empty where the method is folklore or ours.
        modality: `image`, `text`, `any`, ...
        family: where the catalogue files it, e.g. `matching`, `analytic`, `labels`, `compression`.
        formula: the one formula that a reader needs, in plain text or TeX.
        needs: names of `Update` fields that the attack asks for, beyond `values`.
        strength: for defenses, how its strength is read off its settings.
        departs: how ours differs from the paper, and why.
    """

    summary: str
    title: str = ""
    authors: str = ""
    year: int | None = None
    arxiv: str = ""
    modality: str = "any"
    family: str = ""
    formula: str = ""
    needs: tuple[str, ...] = ()
    strength: str = ""
    departs: str = ""

    @property
    def source(self) -> str:
        """One line: authors, title, year, arXiv number."""
        parts = [self.authors, self.title, str(self.year or ""), f"arXiv:{self.arxiv}" if self.arxiv else ""]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, kw_only=True)
class DataCard:
    """Where data come from, and whether a report may show them.

    Args:
        name, source, license: as the data's publisher states them.
        public: True only if anybody may see the examples; otherwise reports blur them.
    """

    name: str
    source: str = ""
    license: str = ""
    public: bool = False
    default: ClassVar[DataCard]


DataCard.default = DataCard(name="user data")
