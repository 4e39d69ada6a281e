"""Reports: renderings of a `Result` and of nothing else."""

from __future__ import annotations

from typing import Any

from gradiometer.audit.schema import Result

from .compare import Change, Comparison, compare, render_comparison
from .load import load_result

FORMATS = ("terminal", "html", "md", "json", "sarif", "junit")

__all__ = ["FORMATS", "Change", "Comparison", "compare", "load_result", "render", "render_comparison", "show"]


def render(result: Result, format: str = "terminal", *, width: int = 100, color: bool = False) -> str:
    """The result in a format.

    Args:
        format: `html` (one self-contained file), `md`, `json`, `sarif` (2.1.0), `junit` or `terminal`.
        width, color: of the terminal; the other formats have neither.

    Raises:
        Unsupported: there is no such format.
    """
    if format == "terminal":
        from .terminal import render_terminal

        return render_terminal(result, width=width, color=color)
    if format == "html":
        from .html import render_html

        return render_html(result)
    if format == "md":
        from .markdown import render_markdown

        return render_markdown(result)
    if format == "json":
        return result.model_dump_json(indent=2) + "\n"
    if format == "sarif":
        from .sarif import render_sarif

        return render_sarif(result)
    if format == "junit":
        from .junit import render_junit

        return render_junit(result)
    from gradiometer.core.errors import Unsupported, did_you_mean

    raise Unsupported(f"no format {format!r}{did_you_mean(format, FORMATS)}", fix=f"choose one of {', '.join(FORMATS)}")


def show(result: Result) -> Any:
    """An object that a notebook displays as the whole report."""
    from .html import Report

    return Report(result)
