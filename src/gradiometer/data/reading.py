"""Files from outside: nothing that they hold is executed, and whatever is wrong with one is said by its name."""

from __future__ import annotations

import gzip
import struct
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from gradiometer.core import BadInput, GradiometerError, did_you_mean

from .arrays import Array

MAX_BYTES = 4 * 2**30
MAX_PIXELS = 64_000_000


def existing(path: str | Path) -> Path:
    """The path.

    Raises:
        BadInput: there is nothing, or nothing that may be looked at.
    """
    try:
        found = Path(path).expanduser()
        if found.exists():
            return found
        near = [entry.name for entry in found.parent.iterdir()] if found.parent.is_dir() else []
    except (OSError, RuntimeError) as error:  # RuntimeError: a home folder that nobody knows
        raise BadInput(f"{path} cannot be looked at: {error}", fix="check the path and its permissions") from error
    raise BadInput(f"{path} does not exist{did_you_mean(found.name, near)}", fix="check the path")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors from inside say which file they are about."""
    try:
        yield
    except GradiometerError as error:
        error.where = error.where or str(path)
        raise


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turns every way in which a file can be damaged into `BadInput` with its name.

    Whatever exception it is: parsers of foreign bytes raise a dozen kinds, `SyntaxError` and `MemoryError` among them.
    """
    with naming(path):
        try:
            yield
        except GradiometerError:
            raise
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise BadInput(f"{path.name} cannot be read as {kind}: {reason}", fix="replace the file") from error


def load_npz(path: str | Path) -> dict[str, Array]:
    """The arrays of an .npz archive; pickled objects are refused, and so is more than 4 GiB.

    Raises:
        BadInput: no such file, damaged, too large, or with objects inside.
    """
    path = existing(path)
    with reading(path, "an .npz archive"):
        with zipfile.ZipFile(path) as archive:
            check_size(sum(entry.file_size for entry in archive.infolist()))
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}


def load_idx(path: Path) -> Array:
    """One IDX file of unsigned bytes, plain or gzipped: two zero bytes, 08, the number of dimensions, their sizes, data.

    Raises:
        BadInput: another header, or not as many bytes as the header announces.
    """
    with reading(path, "an IDX file"), (gzip.open if path.suffix == ".gz" else open)(path, "rb") as stream:
        zero, kind, dimensions = struct.unpack(">HBB", stream.read(4))
        if zero or kind != 8 or not 1 <= dimensions <= 4:
            raise BadInput(f"{path.name} is no IDX file of unsigned bytes", fix="give the original MNIST files")
        shape = struct.unpack(f">{dimensions}I", stream.read(4 * dimensions))
        size = int(np.prod(shape, dtype=object))
        check_size(size)
        content = stream.read(size + 1)
        if len(content) != size:
            more = "more" if len(content) > size else f"{len(content)}"
            raise BadInput(f"{path.name} announces {size} bytes of data and holds {more}", fix="download it again")
        return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def load_picture(path: Path, size: int, *, gray: bool) -> Array:
    """One picture file, cropped to a square about its center and resized: [size, size] or [size, size, 3], 0..255.

    Raises:
        BadInput: damaged, of an unknown format, or of more than 64 million pixels.
    """
    from PIL import Image, ImageOps

    with reading(path, "a picture"), warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise BadInput(
                    f"{path.name} has {picture.width} x {picture.height} pixels", fix="give a smaller picture"
                )
            upright = ImageOps.exif_transpose(picture).convert("L" if gray else "RGB")
            return np.asarray(ImageOps.fit(upright, (size, size), Image.Resampling.BICUBIC))


def check_size(size: int) -> None:
    """Refuses what would not fit into memory: an archive can announce far more than it weighs."""
    if size > MAX_BYTES:
        raise BadInput(f"the file unpacks to {size / 2**30:.1f} GiB; the limit is {MAX_BYTES / 2**30:.0f} GiB")
