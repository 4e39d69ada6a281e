"""The run folder: a lock, a log, and `results.jsonl`, to which finished trials are appended one line at a time."""

from __future__ import annotations

import errno
import json
import math
import os
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from pydantic import ValidationError

from gradiometer.core import BadConfig, BadInput, GradiometerError

from .lines import HEADER, LINE
from .plan import Plan
from .schema import SCHEMA_VERSION

RESULTS = "results.jsonl"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Store:
    """An open run folder. Only one process at a time holds it; its lines survive whatever ends that process.

    Args:
        fingerprints, code: of the clients, and of the user's modules that the plan names. A run is only continued with
            the same plan, clients, code and version.

    Raises:
        BadConfig: another process holds the folder, or it belongs to another run.
        BadInput: it cannot be written, or its results are damaged.
    """

    def __init__(self, folder: str | Path, plan: Plan, fingerprints: dict[str, str], code: str = "") -> None:
        from gradiometer import __version__

        self.folder = Path(folder)
        self.header: dict[str, Any] = {
            "schema": SCHEMA_VERSION,
            "version": __version__,
            "plan": plan.hash,
            "clients": fingerprints,
        }
        self.header["code"] = code
        with ExitStack() as opening:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                lock(opening.enter_context((self.folder / ".lock").open("w")), self.folder)
                self._file, self.records = self._open(opening)
                self._log = opening.enter_context((self.folder / "log.txt").open("a", encoding="utf-8", buffering=1))
                write_whole(self.folder / "plan.toml", plan.dump())
            except OSError as error:
                raise unwritable(self.folder, error) from error
            self._opened = opening.pop_all()

    def append(self, record: dict[str, Any]) -> None:
        """Adds a finished trial, and returns once it is on the disk.

        Raises:
            BadInput: the disk is full. What was finished before stays readable.
        """
        end, line = self._file.seek(0, os.SEEK_END), _line(record)
        try:
            _write(self._file, line)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            os.ftruncate(self._file.fileno(), end)  # half a line helps nobody
            raise unwritable(self.folder, error) from error
        self.records[record["id"]] = LINE.validate_json(line)  # as a later run will read it

    def log(self, text: str) -> None:
        """A line in `log.txt`, with the time."""
        self._log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {text}\n")

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def _open(self, opening: ExitStack) -> tuple[BinaryIO, dict[str, dict[str, Any]]]:
        path = self.folder / RESULTS
        lines, intact = read_lines(path) if path.exists() else ([], 0)
        if lines and lines[0] != self.header:
            raise _foreign(self.folder, lines[0], self.header)
        file = opening.enter_context(path.open("r+b" if path.exists() else "w+b", buffering=0))
        file.truncate(intact)  # a line that was being written when the last run ended
        file.seek(intact)
        if not lines:
            _write(file, _line(self.header))
            os.fsync(file.fileno())
        return file, {record["id"]: record for record in lines[1:]}


def read_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The whole lines of a results file, and at which byte they end. A torn last line is left out.

    Raises:
        BadInput: a line in the middle is damaged, or is no line of ours.
    """
    raw = path.read_bytes()
    lines: list[dict[str, Any]] = []
    end = 0
    for number, piece in enumerate(raw.split(b"\n"), start=1):
        if end + len(piece) >= len(raw):
            break  # not closed by a newline: torn
        try:
            lines.append((LINE if number > 1 else HEADER).validate_json(piece))
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, fault["loc"][1:]))
            raise _damaged(path, number, f"{place + ': ' if place else ''}{fault['msg']}") from error
        end += len(piece) + 1
    return lines, end


def write_whole(path: Path, text: str) -> None:
    """Writes a file completely or not at all."""
    partial = path.with_name(path.name + ".part")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _write(file: BinaryIO, line: bytes) -> None:
    """All of it: a nearly full disk takes a part and says so by the count only."""
    while line:
        line = line[file.write(line) :]


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(_finite(record), separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity: they become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def lock(file: Any, folder: Path) -> None:
    try:
        import fcntl
    except ImportError:  # not a POSIX system: nothing keeps two audits apart
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BadConfig(
            f"{folder}: another audit is running in this folder", fix="wait for it, or name another folder"
        ) from error


def _foreign(folder: Path, found: dict[str, Any], header: dict[str, Any]) -> GradiometerError:
    names = {
        "schema": "result format",
        "version": "version of gradiometer",
        "plan": "plan",
        "clients": "client",
        "code": "code",
    }
    other = [text for key, text in names.items() if found.get(key) != header[key]]
    return BadConfig(
        f"{folder}: the folder holds the results of another {' and another '.join(other)}",
        fix="name a new folder with --output, or delete this one",
    )


def _damaged(path: Path, number: int, fault: str) -> BadInput:
    return BadInput(f"{path}:{number}: a damaged line: {fault}", fix="delete that line to compute its trial again")


def unwritable(folder: Path, error: OSError) -> BadInput:
    """What to tell the user when the run folder takes no more."""
    if error.errno in FULL:
        return BadInput(
            f"{folder}: the disk is full; every finished trial is kept",
            fix="free some space and run the same command again",
        )
    return BadInput(
        f"{folder}: cannot write the run folder: {error.strerror}", fix="check the path and its permissions"
    )
