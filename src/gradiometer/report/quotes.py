"""Quotes as lines: a true sentence, and below it what came back of it through every defense."""

from __future__ import annotations

from dataclasses import dataclass

from gradiometer.audit.schema import Result
from gradiometer.audit.schema_shown import Quote, Token

from .words import KINDS, is_undefended, one_line

MOST = 60
"""Words of a sentence that are shown."""


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """One kind of example of one client: the truth (nothing for a captured update), and its guesses by defense."""

    kind: str
    example: str
    truth: list[Token]
    guesses: list[Quote]


@dataclass(frozen=True, kw_only=True)
class Excerpts:
    """One client's sentences."""

    client: str
    masked: bool
    lines: list[Excerpt]


def excerpts(result: Result) -> list[Excerpts]:
    """The sentences of every client that has any, undefended first."""
    found = []
    for client in dict.fromkeys(quote.client for quote in result.quotes):
        mine = [quote for quote in result.quotes if quote.client == client]
        mine.sort(key=lambda quote: not is_undefended(quote.defense))
        lines = []
        for kind in KINDS:
            of_kind = [quote for quote in mine if quote.kind == kind]
            if of_kind:
                first = of_kind[0]
                lines.append(Excerpt(kind=kind, example=first.example, truth=first.truth, guesses=of_kind))
        found.append(Excerpts(client=client, masked=any(quote.masked for quote in mine), lines=lines))
    return found


def told(quote: Quote) -> str:
    """`7 of 9 words, by DAGER`; of a captured update without the count."""
    who = f"{quote.attack}{', informed' if quote.informed else ''}"
    if quote.rouge_l is None:
        return f"{who} claims"
    right = sum(token.right for token in quote.guess)
    return f"{right} of {len(quote.truth)} words, by {who}"


def plain(tokens: list[Token], *, mark: bool) -> str:
    """The words on one line; with `mark`, wrong ones in brackets."""
    shown = [f"[{token.text}]" if mark and not token.right else token.text for token in tokens[:MOST]]
    more = [f"and {len(tokens) - MOST} more"] if len(tokens) > MOST else []
    return one_line(" ".join(shown + more)) or "(nothing)"
