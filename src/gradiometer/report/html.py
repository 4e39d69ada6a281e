"""The report as one HTML file: no script, no network, nothing but what the result holds. Also for notebooks."""

from __future__ import annotations

import html
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from gradiometer.audit.schema import Result, Row

from . import charts, drawings, figures, gallery, heat, quotes, words
from .filters import FILTERS

if TYPE_CHECKING:
    from jinja2 import Environment

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
    return environment().get_template("report.html").render(context(result))


def context(result: Result) -> dict[str, Any]:
    """All that the templates of an audit's sections are told."""
    rows = {client: [row for row in result.rows if row.client == client] for client in words.clients_of(result)}
    knowing = {(c.client, c.defense, c.attack): c for c in sorted(result.cells, key=lambda c: c.informed) if c.curve}
    curves = [(cell, path) for cell in knowing.values() if (path := charts.curve(cell))]
    return {
        "r": result,
        "sections": SECTIONS,
        "symbols": words.SYMBOLS,
        "caveat": words.CAVEAT,
        "missing": figures.MISSING,
        "figures": _figures(result),
        "rows_by_client": rows,
        "charts_by_client": {client: charts.cost_charts(result, client) for client in rows},
        "galleries": gallery.galleries(result),
        "excerpts": quotes.excerpts(result),
        "drawings": drawings.drawings(result),
        "kinds": words.KINDS,
        "full_gallery": shows_private(result),
        "findings": sorted(result.findings, key=lambda finding: words.SEVERITIES.index(finding.severity)),
        "heat_maps": heat.heat_maps(result),
        "silences": heat.silences(result),
        "generators": heat.generators(result),
        "checks": words.grouped(result.checks),
        "fired": sum(not check.ok for check in result.checks),
        "curves": curves[:CURVES],
        "curves_left_out": len(curves[CURVES:]),
    }


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
    """Whether a private picture, sentence or graph stands in the result as it is: only `--gallery full` makes that."""
    private = {client.name for client in result.clients if not client.data.public}
    shown = [(picture.client, picture.blurred) for picture in result.gallery]
    shown += [(quote.client, quote.masked) for quote in result.quotes]
    shown += [(drawing.client, drawing.masked) for drawing in result.drawings]
    return any(client in private and not hidden for client, hidden in shown)


def _figures(result: Result) -> list[dict[str, str]]:
    """The few figures under the verdict."""
    undefended = [row for row in result.rows if words.is_undefended(row.defense) and row.rate]
    defended = [row for row in result.rows if not words.is_undefended(row.defense)]
    held = [row for row in defended if row.verdict == "HOLDS"]
    unsure = [row for row in defended if row.verdict == "INCONCLUSIVE"]
    told = []
    if undefended:
        told.append(_rate("Without defense", max(undefended, key=_rate_of)))
    leaking = [row for row in defended if row.verdict == "LEAKS" and row.rate]
    if leaking:
        told.append(_rate("Worst defense", max(leaking, key=_rate_of)))
    if defended:
        note = f"of {len(defended)}" + (f", {len(unsure)} inconclusive" if unsure else "")
        told.append({"name": "Defenses that held", "value": str(len(held)), "note": note})
    failed = sum(not control.passed for control in result.controls)
    if result.controls:
        passed = len(result.controls) - failed
        told.append({"name": "Controls passed", "value": str(passed), "note": f"of {len(result.controls)} attacks"})
    return told


def _rate_of(row: Row) -> float:
    return row.rate.value if row.rate else 0.0


def _rate(name: str, row: Row) -> dict[str, str]:
    assert row.rate is not None
    lower, upper = figures.percent(row.rate.lower), figures.percent(row.rate.upper)
    return {
        "name": name,
        "value": figures.percent(row.rate.value),
        "note": f"of examples leak [{lower}, {upper}], n = {row.rate.n}",
    }


@cache
def environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("gradiometer.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: words.clean(value) if type(value) is str else value,
    )
    environment.filters.update(FILTERS)
    return environment
