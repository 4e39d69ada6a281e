"""Examples that a report shows: what was private, and what came back of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .record import Record


class Picture(Record):
    """One line of the gallery. Pictures are base64 PNG, blurred already where the data are not public."""

    client: str
    defense: str
    attack: str
    informed: bool
    kind: Literal["best", "median", "worst"]
    example: str
    truth: str
    guess: str
    blurred: bool
    psnr: float | None = None
    leaked: bool = False


class Token(Record):
    """A word or a part of one, as its vocabulary writes it; `right` where truth and guess have it in common."""

    text: str
    right: bool


class Quote(Record):
    """A sentence and what came back of it. Where the data are not public, words were masked before they were stored."""

    client: str
    defense: str
    attack: str
    informed: bool
    kind: Literal["best", "median", "worst"]
    example: str
    truth: list[Token] = Field(default_factory=list)
    guess: list[Token] = Field(default_factory=list)
    masked: bool
    rouge_l: float | None = None
    exact: bool = False
    leaked: bool = False


class Sketch(Record):
    """A graph as it is drawn: what each node is called, and edges between their numbers."""

    names: list[str] = Field(default_factory=list)
    edges: list[tuple[int, int]] = Field(default_factory=list)


class Drawing(Record):
    """A graph and what came back of it. Where the data are not public, names and edges were left out before they were stored.

    `places`: for every guessed node the true one that it stands for; `right`: whether it has that one's features. `edges`: how many
    are true, guessed, and both.
    """

    client: str
    defense: str
    attack: str
    informed: bool
    kind: Literal["best", "median", "worst"]
    example: str
    truth: Sketch | None = None
    guess: Sketch
    places: list[int | None] = Field(default_factory=list)
    right: list[bool] = Field(default_factory=list)
    edges: tuple[int, int, int]
    masked: bool
    gsm: float | None = None
    exact: bool = False
    equivalent: bool = False
    leaked: bool = False
