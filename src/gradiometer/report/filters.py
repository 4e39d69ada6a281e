"""What the HTML templates call: figures, words, and settings on one line."""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import charts, drawings, figures, heat, quotes, words

if TYPE_CHECKING:
    from markupsafe import Markup


def png_width(picture: str) -> int:
    """The width of a base64 PNG in pixels, read off its header."""
    header = base64.b64decode(picture[:32] + "=" * (-len(picture[:32]) % 4))
    return struct.unpack(">I", header[16:20])[0] if len(header) >= 20 else 0


def breakable(text: str) -> Markup:
    """A long name that may break where it reads well: before brackets, after commas, inside CamelCase."""
    from markupsafe import Markup, escape

    parts = re.split(r"(?<=[,=_+])|(?=[(\[])|(?<=[a-z])(?=[A-Z])", words.clean(text))
    return Markup("<wbr>").join(escape(part) for part in parts)


def told(settings: dict[str, Any]) -> str:
    """Settings on one line: `bits = 4, scheme = global`; what is not set is left out."""
    return ", ".join(f"{k} = {plain(v)}" for k, v in settings.items() if k != "name" and v is not None)


def field(value: Any) -> str:
    """One entry of a layout in words: `3 × 32 × 32 pixels in [0, 1]`."""
    if not isinstance(value, dict) or not isinstance(value.get("shape", []), list):
        return plain(value)
    shape = " × ".join(plain(side) for side in value.get("shape", []))
    kind = plain(value.get("kind", "values"))
    if value.get("classes") is not None:
        return f"{shape} {kind} of {plain(value['classes'])}".strip()
    known = value.get("low") is not None and value.get("high") is not None
    return f"{shape} {kind}" + (f" in [{plain(value['low'])}, {plain(value['high'])}]" if known else "")


def plain(value: Any) -> str:
    """A setting without quotes and braces, as far as it goes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {plain(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(plain(part) for part in value) + "]"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


FILTERS: dict[str, Callable[..., Any]] = {
    "attacker": heat.attacker,
    "bar": charts.bar,
    "breakable": breakable,
    "count": figures.count,
    "decibel": figures.decibel,
    "decibel_interval": figures.decibel_interval,
    "defense_name": words.defense_name,
    "doubts": words.doubts,
    "duration": figures.duration,
    "field": field,
    "lower_first": lambda text: text[:1].lower() + text[1:],
    "meter": words.meter_line,
    "moment": figures.moment,
    "number": figures.number,
    "percent": figures.percent,
    "plan_text": words.plan_text,
    "png_width": png_width,
    "share_interval": figures.share_interval,
    "size": figures.size,
    "some": words.some,
    "drawing_told": drawings.told,
    "drawing_verdict": drawings.verdict,
    "quote_told": quotes.told,
    "told": told,
    "upper_first": lambda text: text[:1].upper() + text[1:],
    "verdict_words": words.verdict_words,
    "words": lambda name: name.replace("_", " "),
    "worst_words": words.worst_words,
}
