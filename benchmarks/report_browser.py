"""The report in a real browser: the demo's, and that of a client whose data are private.

    python benchmarks/report_browser.py [RUN ...] [--screenshots DIR]

Needs `pip install gradiometer[browser]` and a Chromium (Debian: apt-get install chromium); nothing is downloaded. Without
RUN it scans the built-in hospital (2 minutes) and audits a small private client. For every report: no network request, no
console message, under 5 MB, no sideways scrolling at 375 and 1440 px, contrast of every text, the keyboard's first stop
and its marks, print on white paper, and pictures of private data that hold no more than 6 x 6 numbers a channel.
"""

from __future__ import annotations

import argparse
import base64
import io
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from gradiometer import DataCard, Recipe, audit, data, models
from gradiometer.audit.schema import Result
from gradiometer.cli import main as command
from gradiometer.core import Client
from gradiometer.report import load_result, render

SIZE, NARROW, WIDE, PAPER, CONTRAST, CELLS = 5_000_000, 375, 1440, 718, 4.5, 6
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]

SIDEWAYS = """() => [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, pre, .skip, .sr')
  && !e.closest('thead') && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map(e => e.tagName + '.' + e.className).slice(0, 5)"""
CONTRASTS = """() => {
  const rgb = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = c => { const f = v => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
    return 0.2126 * f(c[0]) + 0.7152 * f(c[1]) + 0.0722 * f(c[2]); };
  const ground = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c; } return [255, 255, 255]; };
  const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const e = node.parentElement; if (!node.data.trim() || e.closest('title, desc, .skip, .sr')) continue;
    const style = getComputedStyle(e), ink = rgb(e.closest('svg') ? style.fill : style.color);
    const [a, b] = [light(ink), light(ground(e))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), node.data.trim().slice(0, 40)]); }
  return found.sort((x, y) => x[0] - y[0]).slice(0, 1); }"""
GROUND = "() => getComputedStyle(document.body).backgroundColor"


class Check(NamedTuple):
    name: str
    figure: Any
    threshold: str
    passed: bool


def private_run(folder: Path) -> None:
    """A client whose card does not say that its data are public."""
    digits = replace(data.digits(), card=DataCard(name="digits, taken as private"))
    model = models.mlp((1, 8, 8), 10, widths=(32,), activation="sigmoid")
    client = Client(model=model, layout=digits.layout, recipe=Recipe(examples=1))
    audit(  # type: ignore[operator]  # the module can be called, which no annotation can say
        client=client, data=digits, attacks=["LinearBias"], defenses=["Prune"], folder=folder, settings={"examples": 6}
    )


def residual(picture: str) -> float:
    """Largest pixel difference (of 255) between a picture and the best one that 6 x 6 numbers a channel can spell."""
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB"), dtype=np.float64)
    height, width = pixels.shape[:2]
    cells = [min(CELLS, side // 2 or 1) for side in (height, width)]
    units = torch.eye(cells[0] * cells[1], dtype=torch.float64).reshape(-1, 1, *cells)
    basis = F.interpolate(units, size=(height, width), mode="bilinear", align_corners=False).flatten(1).T.numpy()
    flat = pixels.reshape(-1, 3)
    numbers = np.linalg.lstsq(basis, flat, rcond=None)[0]
    return float(np.abs(basis @ numbers - flat).max())


def blur_checks(result: Result) -> Iterator[Check]:
    private = {client.name for client in result.clients if not client.data.public}
    shown = [picture for picture in result.gallery if picture.client in private]
    if private:
        worst = max((residual(side) for picture in shown for side in (picture.truth, picture.guess)), default=0.0)
        yield Check("private pictures", len(shown), "> 0", bool(shown))
        yield Check("of these called blurred", sum(p.blurred for p in shown), "all", all(p.blurred for p in shown))
        yield Check("off from 6 x 6 numbers a channel, of 255", f"{worst:.2f}", "<= 1", worst <= 1)


def page_checks(browser: Any, page_file: Path, shots: Path) -> Iterator[Check]:
    size = page_file.stat().st_size
    yield Check("bytes", f"{size:,}", f"< {SIZE:,}", size < SIZE)
    requests: list[str] = []
    messages: list[str] = []
    for scheme in ("light", "dark"):
        for width in (WIDE, NARROW):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.on("request", lambda request: requests.append(request.url))
            page.on("console", lambda message: messages.append(message.text))
            page.on("pageerror", lambda error: messages.append(str(error)))
            page.goto(page_file.as_uri())
            name = f"{scheme} {width} px"
            sideways = page.evaluate(
                "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            beyond = page.evaluate(SIDEWAYS)
            yield Check(
                f"{name}: pixels of sideways scrolling",
                f"{sideways} {beyond or ''}".strip(),
                "0",
                not sideways and not beyond,
            )
            ((low, text),) = page.evaluate(CONTRASTS)
            yield Check(f"{name}: lowest contrast ({text!r})", f"{low:.2f}", f">= {CONTRAST}", low >= CONTRAST)
            page.screenshot(path=shots / f"{page_file.stem}-{scheme}-{width}.png", full_page=True)
            if scheme == "light" and width == WIDE:
                yield from keyboard_checks(page)
            if scheme == "dark" and width == WIDE:
                yield Check("dark: ground", page.evaluate(GROUND), "dark", sum(_numbers(page.evaluate(GROUND))) < 120)
                page.emulate_media(media="print", color_scheme="dark")
                white = page.evaluate(GROUND)
                yield Check("print, even from dark: paper", white, "white", sum(_numbers(white)) == 765)
                page.set_viewport_size({"width": PAPER, "height": 1000})
                wide = page.evaluate("() => document.documentElement.scrollWidth")
                yield Check("print: width of what is printed on A4", f"{wide} px", f"<= {PAPER}", wide <= PAPER)
                hidden = page.evaluate("() => getComputedStyle(document.querySelector('nav')).display")
                yield Check("print: navigation", hidden, "none", hidden == "none")
                page.screenshot(path=shots / f"{page_file.stem}-print.png", full_page=True)
                page.pdf(path=shots / f"{page_file.stem}.pdf", format="A4", print_background=True)
            page.close()
    outside = [url for url in requests if not url.startswith("data:") and url != page_file.as_uri()]
    yield Check("requests beyond the file itself", len(outside), "0", not outside)
    yield Check("console messages", len(messages), "0", not messages)


def keyboard_checks(page: Any) -> Iterator[Check]:
    page.keyboard.press("Tab")
    first = page.evaluate("() => document.activeElement.className")
    yield Check("first stop of the Tab key", first, "skip", first == "skip")
    focused = (
        "() => { const e = document.activeElement; return [e.tagName, getComputedStyle(e).outlineStyle !== 'none']; }"
    )
    stops = []
    for _ in range(200):
        page.keyboard.press("Tab")
        stop = page.evaluate(focused)
        if stop[0] == "BODY":
            break
        stops.append(stop)
    wanted = page.evaluate("() => document.querySelectorAll('nav a, [tabindex=\"0\"]').length")
    yield Check("stops of the Tab key", len(stops), f"{wanted}, all", len(stops) == wanted)
    yield Check("of these with a visible mark", sum(seen for _, seen in stops), "all", all(seen for _, seen in stops))


def _numbers(color: str) -> list[float]:
    return [float(part) for part in color[color.index("(") + 1 : -1].split(",")[:3]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="run folders; default: a scan of the demo, and a private client"
    )
    parser.add_argument("--screenshots", type=Path, help="keep them here")
    parser.add_argument("--browser", default="/usr/bin/chromium", help="path of a Chromium")
    parser.add_argument("--budget", default="2min", help="of the scan")
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    torch.set_num_threads(1)
    missed = 0
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        runs = [Path(run) for run in arguments.runs]
        if not runs:
            runs = [Path(place) / "demo", Path(place) / "private"]
            command(["scan", "-q", "-o", str(runs[0]), "--budget", arguments.budget])
            private_run(runs[1])
        shots = arguments.screenshots or Path(place) / "screenshots"
        shots.mkdir(parents=True, exist_ok=True)
        browser = playwright.chromium.launch(executable_path=arguments.browser, args=FLAGS)
        for run in runs:
            result = load_result(run)
            page_file = (shots / f"{run.name}.html").resolve()
            page_file.write_text(render(result, "html"), encoding="utf-8")
            print(f"\n{run.name}: {result.title}")
            for check in [*page_checks(browser, page_file, shots), *blur_checks(result)]:
                missed += not check.passed
                print(
                    f"  {'PASS' if check.passed else 'MISS'}  {check.name}: {check.figure} (threshold {check.threshold})"
                )
        browser.close()
    print(f"\n{'PASS' if not missed else 'MISS'}: {missed} checks missed")
    return min(missed, 1)


if __name__ == "__main__":
    sys.exit(main())
