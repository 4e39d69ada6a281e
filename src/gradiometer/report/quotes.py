"""Quotes as lines: a true sentence, and below it what came back of it through every defense."""

from __future__ import annotations

from dataclasses import dataclass

from gradiometer.audit.schema import Result
from gradiometer.audit.schema_shown import Quote, Token

from .shown import by_client_and_kind
from .words import one_line

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
    return [
        Excerpts(
            client=client,
            masked=any(quote.masked for _, quotes in kinds for quote in quotes),
            lines=[
                Excerpt(kind=kind, example=quotes[0].example, truth=quotes[0].truth, guesses=quotes)
                for kind, quotes in kinds
            ],
        )
        for client, kinds in by_client_and_kind(result.quotes)
    ]


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
