"""Files stay small enough to be read in one go."""

from __future__ import annotations

import statistics
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "gradiometer"


def lengths() -> dict[str, int]:
    files = {str(path.relative_to(SOURCE)): len(path.read_text().splitlines()) for path in SOURCE.rglob("*.py")}
    return {name: lines for name, lines in files.items() if not name.endswith("__init__.py")}


def test_no_file_over_400_lines() -> None:
    assert {name: lines for name, lines in lengths().items() if lines > 400} == {}


def test_nine_in_ten_under_250_lines_and_the_median_under_120() -> None:
    counted = sorted(lengths().values())
    assert counted[int(0.9 * (len(counted) - 1))] <= 250
    assert statistics.median(counted) <= 120
