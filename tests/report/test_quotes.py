"""Sentences in reports: right and wrong words are told apart without color, and nothing in them can do harm."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from gradiometer.audit.schema import Result
from gradiometer.audit.schema_shown import Quote, Token
from gradiometer.report import render
from gradiometer.report.html import shows_private
from gradiometer.report.quotes import MOST, excerpts, plain

SAMPLE = runpy.run_path(str(Path(__file__).with_name("sample.py")))
CLIENT = SAMPLE["sample"](defenses=1, pictures=False).clients[0].name


def words(text: str, wrong: str = "") -> list[Token]:
    return [Token(text=word, right=word not in wrong.split()) for word in text.split()]


def quote(guess: str, wrong: str = "", **more: object) -> Quote:
    told: dict = {
        "client": CLIENT,
        "defense": "none",
        "attack": "DAGER",
        "informed": False,
        "kind": "best",
        "example": "batch 0, example 1",
        "truth": words("she has a <b>fever</b>"),
        "masked": False,
        "rouge_l": 0.5,
    }
    return Quote(**told | {"guess": words(guess, wrong)} | more)


def with_quotes(*quotes: Quote) -> Result:
    return SAMPLE["sample"](defenses=2, pictures=False).model_copy(update={"quotes": list(quotes)})


def test_wrong_words_are_marked_in_every_format() -> None:
    result = with_quotes(quote("she had a fever", "had", leaked=True), quote("a dog", "dog", defense="Clip"))
    page = render(result, "html")
    assert '<del class="token wrong"><span class="sr">wrong: </span>had</del>' in page
    assert '<span class="token right">fever</span>' in page
    assert "&lt;b&gt;fever&lt;/b&gt;" in page
    assert "3 of 4 words, by DAGER" in page
    assert "she [had] a fever" in render(result, "terminal", width=160)
    assert r"she \[had\] a fever" in render(result, "md")
    assert "\033[" in render(result, "terminal", color=True)


def test_undefended_stands_first_and_kinds_are_in_order() -> None:
    found = excerpts(
        with_quotes(quote("a", kind="worst"), quote("a", defense="Clip"), quote("she"), quote("she", kind="median"))
    )
    assert [line.kind for line in found[0].lines] == ["best", "median", "worst"]
    assert [one.defense for one in found[0].lines[0].guesses] == ["none", "Clip"]


def test_long_sentences_are_cut_and_empty_ones_told() -> None:
    assert plain(words("word " * (MOST + 5)), mark=True).endswith("and 5 more")
    assert plain([], mark=True) == "(nothing)"
    page = render(with_quotes(quote("", truth=words("word " * 90))), "html")
    assert "and 30 more" in page
    assert "nothing came back" in page


def test_a_claim_without_a_truth_is_not_marked() -> None:
    page = render(with_quotes(quote("1 7 12", "1 7 12", truth=[], rouge_l=None)), "html")
    assert "DAGER claims" in page
    assert not re.search(r'<del class="token wrong"><span', page)


def test_unmasked_private_sentences_are_warned_of() -> None:
    result = with_quotes(quote("she"))
    private = result.clients[0].model_copy(update={"data": result.clients[0].data.model_copy(update={"public": False})})
    shown = result.model_copy(update={"clients": [private]})
    assert shows_private(shown)
    assert "unblurred" in render(shown, "html")
    hidden = shown.model_copy(update={"quotes": [quote("•••", masked=True)]})
    assert not shows_private(hidden)
    assert "replaced by dots" in render(hidden, "html")
