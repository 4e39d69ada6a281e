"""The dependency order: a room may import the rooms to its left, never those to its right or beside it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "gradiometer"
ROOMS = ("data", "models", "metrics", "attacks", "defenses", "guards")
MAY_IMPORT = {
    "core": set(),
    "numerics": {"core"},
    **{room: {"core", "numerics"} for room in ROOMS},
    "federation": {"core", "numerics", *ROOMS},
    "audit": {"core", "numerics", *ROOMS, "federation"},
    "report": {"core"},
    "cli": {"core", "numerics", *ROOMS, "federation", "audit", "report"},
}
# The catalogue (`list`) and the schema are what the right may take from rooms that it must not run.
EXCEPTIONS = {("report", "audit.schema"), ("report", "audit.toml")}


def imports(path: Path) -> Iterator[str]:
    package = ("gradiometer", *path.relative_to(SOURCE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{prefix}.{alias.name}" for alias in node.names)


def room_of(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


FILES = sorted(path for path in SOURCE.rglob("*.py") if room_of(path) not in {"__init__", "__main__"})


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_layer_order(path: Path) -> None:
    room = room_of(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "gradiometer" or len(parts) < 2 or parts[1] in {room, "__version__"}:
            continue
        target = parts[1]
        if any(room == left and name.startswith(f"gradiometer.{right}") for left, right in EXCEPTIONS):
            continue
        assert target in MAY_IMPORT[room], f"{path.name} in {room} imports {name}"


def test_every_room_is_known() -> None:
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms <= set(MAY_IMPORT)
