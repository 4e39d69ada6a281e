"""The report as one HTML file: no script, no network, nothing but what the result holds. Also for notebooks."""

from __future__ import annotations

import base64
import html
import json
import re
import struct
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from gradiometer.audit.schema import Result, Row

from . import charts, gallery, heat, words

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

SECTIONS = (
    ("verdict", "Verdict"),
    ("threat", "Threat and client"),
    ("gallery", "Gallery"),
    ("costs", "Leakage and cost"),
    ("findings", "Findings"),
    ("grid", "Attacks × defenses"),
    ("trust", "How sure are we"),
    ("reproduce", "Reproduce"),
)
CURVES = 12


def render_html(result: Result) -> str:
    """The whole report. Every string of the result is escaped; a strict content policy backs that up."""
    rows = {client: [row for row in result.rows if row.client == client] for client in words.clients_of(result)}
    knowing = {(c.client, c.defense, c.attack): c for c in sorted(result.cells, key=lambda c: c.informed) if c.curve}
    curves = [(cell, path) for cell in knowing.values() if (path := charts.curve(cell))]
    return (
        _environment()
        .get_template("report.html")
        .render(
            r=result,
            sections=SECTIONS,
            symbols=words.SYMBOLS,
            caveat=words.CAVEAT,
            missing=words.MISSING,
            figures=_figures(result),
            rows_by_client=rows,
            charts_by_client={client: charts.cost_charts(result, client) for client in rows},
            galleries=gallery.galleries(result),
            full_gallery=shows_private(result),
            findings=sorted(result.findings, key=lambda finding: words.SEVERITIES.index(finding.severity)),
            heat_maps=heat.heat_maps(result),
            silences=heat.silences(result),
            checks=sorted(result.checks, key=lambda check: check.ok),
            fired=sum(not check.ok for check in result.checks),
            curves=curves[:CURVES],
            curves_left_out=len(curves[CURVES:]),
        )
    )


@dataclass(frozen=True)
class Report:
    """A result that shows itself in a notebook, in a frame of its own, so that no style leaks either way."""

    result: Result

    def _repr_html_(self) -> str:
        page = html.escape(render_html(self.result), quote=True)
        title = html.escape(words.one_line(self.result.title), quote=True)
        style = "width:100%;height:80vh;border:1px solid #8884;border-radius:6px"
        return f'<iframe sandbox title="{title}" style="{style}" srcdoc="{page}"></iframe>'


def shows_private(result: Result) -> bool:
    """Whether a picture of private data stands in the result unblurred: only `--gallery full` makes that."""
    private = {client.name for client in result.clients if not client.data.public}
    return any(picture.client in private and not picture.blurred for picture in result.gallery)


def _figures(result: Result) -> list[dict[str, str]]:
    """The few figures under the verdict."""
    undefended = [row for row in result.rows if words.is_undefended(row.defense) and row.rate]
    defended = [row for row in result.rows if not words.is_undefended(row.defense)]
    held = [row for row in defended if row.verdict == "HOLDS"]
    unsure = [row for row in defended if row.verdict == "INCONCLUSIVE"]
    figures = []
    if undefended:
        figures.append(_rate("Without defense", max(undefended, key=_rate_of)))
    leaking = [row for row in defended if row.verdict == "LEAKS" and row.rate]
    if leaking:
        figures.append(_rate("Worst defense", max(leaking, key=_rate_of)))
    if defended:
        note = f"of {len(defended)}" + (f", {len(unsure)} inconclusive" if unsure else "")
        figures.append({"name": "Defenses that held", "value": str(len(held)), "note": note})
    failed = sum(not control.passed for control in result.controls)
    if result.controls:
        passed = len(result.controls) - failed
        figures.append({"name": "Controls passed", "value": str(passed), "note": f"of {len(result.controls)} attacks"})
    return figures


def _rate_of(row: Row) -> float:
    return row.rate.value if row.rate else 0.0


def _rate(name: str, row: Row) -> dict[str, str]:
    assert row.rate is not None
    lower, upper = words.percent(row.rate.lower), words.percent(row.rate.upper)
    return {
        "name": name,
        "value": words.percent(row.rate.value),
        "note": f"of examples leak [{lower}, {upper}], n = {row.rate.n}",
    }


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("gradiometer.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: words.clean(value) if type(value) is str else value,
    )
    named = (
        "percent",
        "decibel",
        "number",
        "count",
        "size",
        "duration",
        "share_interval",
        "defense_name",
        "verdict_words",
    )
    environment.filters.update({name: getattr(words, name) for name in (*named, "worst_words")})
    environment.filters.update(
        bar=charts.bar,
        breakable=breakable,
        png_width=png_width,
        plain=plain,
        plan_text=words.plan_text,
        words=lambda name: name.replace("_", " "),
        lower_first=lambda text: text[:1].lower() + text[1:],
    )
    return environment


def png_width(picture: str) -> int:
    """The width of a base64 PNG in pixels, read off its header."""
    header = base64.b64decode(picture[:32] + "=" * (-len(picture[:32]) % 4))
    return struct.unpack(">I", header[16:20])[0] if len(header) >= 20 else 0


def breakable(text: str) -> Markup:
    """A long name that may break where it reads well: before brackets, after commas, inside CamelCase."""
    from markupsafe import Markup, escape

    parts = re.split(r"(?<=[,=_])|(?=[(\[])|(?<=[a-z])(?=[A-Z])", words.clean(text))
    return Markup("<wbr>").join(escape(part) for part in parts)


def plain(value: Any) -> str:
    """A setting without quotes and braces, as far as it goes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {plain(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(plain(part) for part in value) + "]"
    return value if isinstance(value, str) else json.dumps(value)
