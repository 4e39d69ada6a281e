"""Reading a result back: whatever is wrong with the file is said in one sentence that names it."""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path
from typing import Any

from gradiometer.audit.schema import SCHEMA_VERSION, Result

LIMIT = 200_000_000
PNG = b"\x89PNG\r\n\x1a\n"


def load_result(path: str | Path) -> Result:
    """The result in a run folder, or in a `result.json` itself.

    Raises:
        BadInput: naming the file and the fault.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / "result.json").exists():
            raise _damaged(path, "the folder holds no result.json", "pass the folder that `audit` or `scan` wrote")
        path = path / "result.json"
    try:
        if path.stat().st_size > LIMIT:
            raise _damaged(path, f"the file is larger than {LIMIT // 10**6} MB, no result is", "check the path")
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise _damaged(path, "there is no such file", "check the path") from error
    except OSError as error:
        raise _damaged(path, f"cannot be read: {error.strerror}", "check the path and its permissions") from error
    return parse_result(raw, path)


def parse_result(raw: bytes, path: Path) -> Result:
    """The result in these bytes; `path` is what messages call them."""
    from pydantic import ValidationError

    try:
        data: Any = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"not JSON: {error}") from error
    if not isinstance(data, dict) or data.get("tool") != "gradiometer":
        raise _damaged(path, "not the result of an audit", "pass a run folder or its result.json")
    version = data.get("schema_version")
    if version != SCHEMA_VERSION:
        fix = f"this gradiometer reads version {SCHEMA_VERSION}: use the one that wrote the file, or audit again"
        raise _damaged(path, f"schema version {str(version)[:20]}", fix)
    try:
        result = Result.model_validate_json(raw)
    except (ValidationError, RecursionError, ValueError) as error:
        raise _damaged(path, _first_faults(error)) from error
    for position, picture in enumerate(result.gallery):
        for side in ("truth", "guess"):
            if not _is_png(getattr(picture, side)):
                raise _damaged(path, f"gallery.{position}.{side} is no base64 PNG")
    return result


def _is_png(text: str) -> bool:
    try:
        return base64.b64decode(text, validate=True).startswith(PNG)
    except (binascii.Error, ValueError):
        return False


def _first_faults(error: Exception) -> str:
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())[:200]
    faults = [
        f"{'.'.join(map(str, fault['loc'])) or 'file'}: {fault['msg']}" for fault in error.errors(include_input=False)
    ]
    more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
    return " ".join("; ".join(faults[:3]).split())[:400] + more


def _damaged(path: Path, fault: str, fix: str = "audit again, or restore an undamaged copy") -> Exception:
    from gradiometer.core.errors import BadInput  # here, because the package around it loads torch

    return BadInput(f"{path}: {fault}", fix=fix)
