"""The HTML report: one file, no network, no script, nothing unescaped, readable by everybody."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import pytest
from pydantic import BaseModel

from gradiometer.audit.schema import Estimate, Result
from gradiometer.report import render, show
from gradiometer.report.words import CAVEAT

HOSTILE = '<script>alert("x")</script>{{ 7*7 }}\'"><img src=x onerror=y>&amp;'


class Page(HTMLParser):
    """Every element with its attributes, and the text of headings."""

    VOID = frozenset({"meta", "link", "img", "br", "wbr"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.problems: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> at {self.getpos()}")

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


def variants(make_result: Callable[..., Result], tiny_result: Result) -> list[Result]:
    return [
        tiny_result,
        make_result(defenses=0, pictures=False),
        make_result(defenses=1),
        make_result(clients=2),
        make_result(public=True),
        make_result(defenses=25, pictures=False),
    ]


def test_every_variant_is_well_formed_and_accessible(make_result: Callable[..., Result], tiny_result: Result) -> None:
    for result in variants(make_result, tiny_result):
        page = Page(render(result, "html"))
        assert (page.problems, page.open) == ([], [])
        assert all("alt" in image and image["alt"] for image in page.all("img"))
        assert all("scope" in head for head in page.all("th"))
        assert len(page.all("table")) == len(page.all("caption"))
        ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        links = [str(link["href"]) for link in page.all("a")]
        assert links[0] == "#verdict"  # the skip link comes first
        assert {link.removeprefix("#") for link in links} <= set(ids)
        for name in ("aria-labelledby", "aria-describedby"):
            assert {a[name] for _, a in page.elements if name in a} <= set(ids)
        levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
        scrolling = [a for _, a in page.elements if a.get("class") == "scroll"]
        assert all(a.get("tabindex") == "0" and a.get("role") == "region" and a.get("aria-label") for a in scrolling)
        assert page.all("html")[0]["lang"] == "en"


def test_order_of_sections(result: Result) -> None:
    html = render(result, "html")
    order = ["verdict", "threat", "gallery", "costs", "findings", "grid", "trust", "reproduce"]
    places = [html.index(f'<section id="{name}"') for name in order]
    assert places == sorted(places)


def test_nothing_but_data_is_loaded(result: Result) -> None:
    html = render(result, "html")
    page = Page(html)
    policy = next(str(m["content"]) for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert page.all("script", "iframe", "object", "embed", "base", "form") == []
    for _, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "action", "poster", "xlink:href"):
            assert str(attributes.get(name) or "#").startswith(("#", "data:"))
    assert not re.search(r"@import|url\(", html)


def hostile(value: Any, name: str = "") -> Any:
    """The same record with an attack in every free string."""
    if isinstance(value, BaseModel):
        kept = {"tool", "verdict", "level", "severity", "status", "kind", "truth", "guess", "schema_version"}
        changed = {
            key: getattr(value, key) if key in kept else hostile(getattr(value, key), key)
            for key in type(value).model_fields
        }
        return value.model_copy(update=changed)
    if isinstance(value, list):
        return [hostile(item) for item in value]
    if isinstance(value, dict):
        return {HOSTILE + str(key): hostile(item) for key, item in value.items()}
    return HOSTILE if isinstance(value, str) else value


def test_every_string_is_escaped(make_result: Callable[..., Result]) -> None:
    result = hostile(make_result(clients=1))
    assert "{{ 7*7 }}" in render(result, "html")
    for format in ("html", "md", "junit"):
        text = re.sub(
            r"^(```+)\w*\n.*?^\1$", "", render(result, format), flags=re.DOTALL | re.MULTILINE
        )  # code is inert
        assert "<script" not in text
        assert "<img src=x" not in text
    page = Page(render(result, "html"))
    assert page.problems == []
    assert page.all("script") == []
    assert not any("onerror" in attributes for _, attributes in page.elements)
    again = Result.model_validate_json(render(result, "json"))
    assert again == result


def test_size_is_bounded_and_what_is_left_out_is_told(make_result: Callable[..., Result]) -> None:
    result = make_result()
    huge = [picture.model_copy(update={"guess": picture.guess + "A" * 1_200_000}) for picture in result.gallery]
    html = render(result.model_copy(update={"gallery": huge}), "html")
    assert len(html.encode()) < 5_000_000
    assert re.search(r"[1-9]\d* pictures did not fit", html)
    assert len(render(make_result(defenses=25), "html").encode()) < 5_000_000


def test_blurred_pictures_are_called_so_and_private_ones_are_announced(make_result: Callable[..., Result]) -> None:
    blurred, public = render(make_result(), "html"), render(make_result(public=True), "html")
    assert "every picture was blurred" in blurred
    assert '<span class="tag" aria-hidden="true">blurred</span>' in blurred
    assert "blurred" not in re.sub(r"<style>.*</style>", "", public, flags=re.DOTALL)
    banner = "This report shows private examples unblurred."
    assert banner not in blurred + public
    bare = make_result()
    bare = bare.model_copy(update={"gallery": [p.model_copy(update={"blurred": False}) for p in bare.gallery]})
    assert banner in render(bare, "html")


def test_a_picture_without_a_truth_is_not_judged(make_result: Callable[..., Result]) -> None:
    result = make_result(defenses=1)
    bare = [picture.model_copy(update={"psnr": None}) for picture in result.gallery]
    html = render(result.model_copy(update={"gallery": bare}), "html")
    assert html.count("◇ not judged") == html.count("not at hand") == 3
    assert "not leaked" not in html


def test_nothing_is_ever_called_safe(result: Result) -> None:
    for format in ("html", "md", "terminal"):
        text = re.sub(r"<style>.*</style>", "", render(result, format), flags=re.DOTALL)
        words = " ".join(re.sub("<[^>]+>", " ", text).split()).replace(CAVEAT.replace("\u00a0", " "), "")
        assert not re.search(r"\b(safe|secure)\b", words.replace("It does not mean safe", ""), flags=re.IGNORECASE)


def test_states_without_a_figure_do_not_look_like_zero(result: Result) -> None:
    html = render(result, "html")
    for look, text in [
        ("not_applicable", "n/a"),
        ("missing_knowledge", "no access"),
        ("failed", "failed"),
        ("skipped", "skipped"),
    ]:
        assert re.search(rf'<td class="tile {look}" [^>]*>{text}</td>', html)
    assert re.search(r'<td class="tile inconclusive" [^>]*>\? 4', html)
    assert re.search(r'<td class="tile heat0" [^>]*>0', html)


def test_generators_stand_beside_what_they_show_without_the_update(result: Result) -> None:
    assert "What generators show" not in render(result, "html")
    told = {
        "attack": "GGL",
        "generative": True,
        "noise_psnr": decibels(9.4),
        "psnr": decibels(22.0),
        "oracle_psnr": decibels(31.6),
    }
    with_generator = result.model_copy(update={"cells": [result.cells[0].model_copy(update=told), *result.cells[1:]]})
    html = render(with_generator, "html")
    assert not Page(html).problems
    section = html.split("What generators show")[1].split("</table>")[0].replace("\u00a0", " ")
    assert re.findall(r"([\d.]+ dB) \[", section) == ["9.4 dB", "22.0 dB", "31.6 dB"]
    diffused = with_generator.model_copy(
        update={"cells": [with_generator.cells[0].model_copy(update={"oracle_psnr": None})]}
    )
    section = render(diffused, "html").split("What generators show")[1].split("</table>")[0].replace("\u00a0", " ")
    assert re.findall(r"([\d.]+ dB) \[", section) == [
        "9.4 dB",
        "22.0 dB",
    ]  # a diffusion model shows every picture somewhere


def decibels(value: float) -> Estimate:
    return Estimate(value=value, lower=value - 1, upper=value + 1, n=30, method="median")


def test_notebook_shows_it_in_a_frame_of_its_own(result: Result) -> None:
    html = show(result)._repr_html_()
    assert html.startswith("<iframe sandbox ")
    assert html.count("<") == 2


def luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_at_least_aa(scheme: str) -> None:
    css = (files("gradiometer.report") / "templates" / "style.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", css, flags=re.DOTALL)
    colors = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[0]))
    if scheme == "dark":
        colors |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[1]))
    pairs = [
        (text, ground) for text in ("ink", "soft", "leaks", "holds", "unsure", "accent") for ground in ("paper", "card")
    ]
    pairs += [(text, ground) for text in ("ink", "soft") for ground in ("leaks-bg", "holds-bg", "unsure-bg", "faint")]
    pairs += [(tone, f"{tone}-bg") for tone in ("leaks", "holds", "unsure")]
    pairs += [("heat-ink", f"heat{step}") for step in range(4)] + [("heat-ink-hot", f"heat{step}") for step in (4, 5)]
    pairs += [("soft", "hatch")]
    low = {pair: round(contrast(colors[pair[0]], colors[pair[1]]), 2) for pair in pairs}
    assert {pair: ratio for pair, ratio in low.items() if ratio < 4.5} == {}
