"""The run folder: a lock, a log, and `results.jsonl`, to which finished trials are appended one line at a time."""

from __future__ import annotations

import errno
import json
import math
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from gradiometer.core import BadConfig, BadInput, GradiometerError

from .plan import Plan
from .schema import SCHEMA_VERSION

RESULTS = "results.jsonl"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Store:
    """An open run folder. Only one process at a time holds it; its lines survive whatever ends that process.

    Args:
        fingerprints: of the clients; a run is only continued with the same plan, the same clients, the same version.

    Raises:
        BadConfig: another process holds the folder, or it belongs to another run.
        BadInput: it cannot be written, or its results are damaged.
    """

    def __init__(self, folder: str | Path, plan: Plan, fingerprints: dict[str, str]) -> None:
        from gradiometer import __version__

        self.folder = Path(folder)
        self.header = {"schema": SCHEMA_VERSION, "version": __version__, "plan": plan.hash, "clients": fingerprints}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / ".lock").open("w")
            _lock(self._lock, self.folder)
            self._file, self.records = self._open()
            self._log = (self.folder / "log.txt").open("a", encoding="utf-8", buffering=1)
            write_whole(self.folder / "plan.toml", plan.dump())
        except OSError as error:
            raise unwritable(self.folder, error) from error

    def append(self, record: dict[str, Any]) -> None:
        """Adds a finished trial, and returns once it is on the disk.

        Raises:
            BadInput: the disk is full. What was finished before stays readable.
        """
        end = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(_line(record))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            os.ftruncate(self._file.fileno(), end)  # half a line helps nobody
            raise unwritable(self.folder, error) from error
        self.records[record["id"]] = record

    def log(self, text: str) -> None:
        """A line in `log.txt`, with the time."""
        self._log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {text}\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self._file, self._log, self._lock):
            file.close()

    def _open(self) -> tuple[BinaryIO, dict[str, dict[str, Any]]]:
        path = self.folder / RESULTS
        lines, intact = read_lines(path) if path.exists() else ([], 0)
        if lines and lines[0] != self.header:
            raise _foreign(self.folder, lines[0], self.header)
        file = path.open("r+b" if path.exists() else "w+b", buffering=0)
        file.truncate(intact)  # a line that was being written when the last run ended
        file.seek(intact)
        if not lines:
            file.write(_line(self.header))
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
            record = json.loads(piece)
        except (ValueError, RecursionError) as error:
            raise _damaged(path, number, " ".join(str(error).split())[:100]) from error
        if not isinstance(record, dict) or not (
            "schema" in record if number == 1 else isinstance(record.get("id"), str)
        ):
            raise _damaged(path, number, "it is no line of an audit")
        lines.append(record)
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


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(_finite(record), separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity: they become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _lock(file: Any, folder: Path) -> None:
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
    names = {"schema": "result format", "version": "version of gradiometer", "plan": "plan", "clients": "client"}
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
