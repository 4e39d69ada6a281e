"""A file of the user's own as the data of a scan: molecules or sentences, by its name and its first line."""

from __future__ import annotations

import gzip
import json
from typing import Any

from gradiometer.data.reading import existing, reading


def own_file(target: str) -> tuple[str, dict[str, Any]] | None:
    """Modality and spelled data of a `.csv` or `.jsonl` file, plain or gzipped; None for another target.

    Raises:
        BadInput: no such file, or a first line that is no JSON object.
    """
    name = target.removesuffix(".gz")
    if name.endswith(".csv"):
        return "graphs", {"name": "molecules", "path": str(existing(target))}
    if not name.endswith(".jsonl"):
        return None
    path = existing(target)
    with (
        reading(path, "lines of JSON"),
        (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines,
    ):
        smiles = "smiles" in json.loads(next(iter(lines), "{}"))
    return ("graphs" if smiles else "sentences"), {"name": "molecules" if smiles else "jsonl", "path": str(path)}
