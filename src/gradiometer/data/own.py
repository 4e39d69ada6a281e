"""Bring your own: an image folder, .npz, MNIST's IDX files, CIFAR's binary files, MedMNIST. Reports blur them all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from gradiometer.core import BadConfig, BadInput, Data, DataCard, Unsupported, derive

from .arrays import Array, from_arrays
from .reading import check_size, existing, load_idx, load_npz, load_picture, naming, reading

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif")


def _own(kind: str, source: str) -> DataCard:
    return DataCard(name=kind, source=source, license="the user's own", public=False)


image_folder_card = _own("image_folder", "a folder with one subfolder of pictures a class")
npz_card = _own("npz", "an .npz archive with arrays x and y, or x_train, y_train, x_test, y_test")
mnist_idx_card = _own("mnist_idx", "a folder with MNIST's four IDX files, plain or gzipped")
cifar_binary_card = _own("cifar_binary", "a folder with the binary files of CIFAR-10 or CIFAR-100")
medmnist_card = _own("medmnist", "an .npz archive of MedMNIST (train, val and test images and labels)")


def image_folder(
    path: str | Path,
    size: int = 32,
    *,
    gray: bool = False,
    public_share: float = 0.5,
    test_share: float = 0.2,
    limit: int | None = None,
    seed: int = 0,
) -> Data:
    """Pictures in subfolders; the subfolders, in alphabetical order, are the classes.

    Args:
        path: the folder.
        size: pictures are cropped to a square about their center and resized to size x size pixels.
        gray: one channel instead of three.
        public_share, test_share, limit, seed: as in `from_arrays`.

    Raises:
        BadInput: no such folder, fewer than two classes with pictures, or a picture that cannot be read.
    """
    if size < 1:
        raise BadConfig(f"pictures need at least one pixel, got size {size}")
    folder = existing(path)
    if not folder.is_dir():
        raise BadInput(f"{folder} is a file", fix="give a folder with one subfolder a class")
    with reading(folder, "a folder of pictures"):
        classes = {
            entry.name: sorted(file for file in entry.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
            for entry in sorted(folder.iterdir())
            if entry.is_dir()
        }
    classes = {name: pictures for name, pictures in classes.items() if pictures}
    if len(classes) < 2:
        raise BadInput(
            f"{folder} has {len(classes)} subfolders with pictures",
            fix=f"make one subfolder a class, at least two, with files ending in {', '.join(SUFFIXES)}",
        )
    if {name.lower() for name in classes} <= {"train", "training", "val", "valid", "validation", "test"}:
        raise BadInput(f"the subfolders of {folder} are parts, no classes", fix="give one of them")
    found = [(file, label) for label, files in enumerate(classes.values()) for file in files]
    # Drawn before reading: a folder may hold far more than is asked for.
    chosen = [found[i] for i in torch.randperm(len(found), generator=derive(seed, "folder")).tolist()[:limit]]
    check_size(len(chosen) * size * size * 3)
    x = np.stack([load_picture(file, size, gray=gray) for file, _ in chosen])
    y = np.array([label for _, label in chosen])
    return from_arrays(
        x,
        y,
        names=tuple(classes),
        card=image_folder_card,
        public_share=public_share,
        test_share=test_share,
        seed=seed,
    )


def npz(
    path: str | Path,
    *,
    public_share: float = 0.5,
    test_share: float = 0.2,
    limit: int | None = None,
    seed: int = 0,
) -> Data:
    """Arrays `x`, `y` (and `x_test`, `y_test`), or `x_train`, `y_train`, in an .npz archive; shapes as in `from_arrays`.

    Raises:
        BadInput: no such file, damaged, with pickled objects, or without these arrays.
    """
    file, arrays = existing(path), load_npz(path)
    train = next((pair for pair in (("x", "y"), ("x_train", "y_train")) if set(pair) <= arrays.keys()), None)
    if train is None:
        raise BadInput(
            f"{file.name} has no arrays x and y, only {', '.join(arrays) or 'nothing'}",
            where=str(file),
            fix="save it with numpy.savez(path, x=pictures, y=labels)",
        )
    with naming(file):
        return from_arrays(
            arrays[train[0]],
            arrays[train[1]],
            x_test=arrays.get("x_test"),
            y_test=arrays.get("y_test"),
            card=npz_card,
            public_share=public_share,
            test_share=test_share,
            limit=limit,
            seed=seed,
        )


def medmnist(path: str | Path, *, public_share: float = 0.5, limit: int | None = None, seed: int = 0) -> Data:
    """A 2D archive of MedMNIST: private and public examples from `train` and `val`, held-out ones from `test`.

    Raises:
        BadInput: no such file, damaged, or not of MedMNIST.
        Unsupported: several labels a picture, or volumes.
    """
    file, arrays = existing(path), load_npz(path)
    wanted = [f"{part}_{what}" for part in ("train", "val", "test") for what in ("images", "labels")]
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise BadInput(f"{file.name} is no MedMNIST archive: it lacks {', '.join(missing)}", where=str(file))
    if arrays["train_labels"].ndim > 1 and arrays["train_labels"].shape[1] > 1:
        raise Unsupported(f"{file.name} has several labels a picture", where=str(file), fix="choose a single-label set")
    if arrays["train_images"].ndim == 5 or (
        arrays["train_images"].ndim == 4 and arrays["train_images"].shape[3] not in (1, 3)
    ):
        raise Unsupported(f"{file.name} holds volumes", where=str(file), fix="choose a 2D set of MedMNIST")
    with naming(file):
        return from_arrays(
            np.concatenate([arrays["train_images"], arrays["val_images"]]),
            np.concatenate([arrays["train_labels"], arrays["val_labels"]]),
            x_test=arrays["test_images"],
            y_test=arrays["test_labels"],
            card=medmnist_card,
            public_share=public_share,
            limit=limit,
            seed=seed,
        )


def mnist_idx(path: str | Path, *, public_share: float = 0.5, limit: int | None = None, seed: int = 0) -> Data:
    """A folder with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and their `t10k-` twins, plain or `.gz`.

    Raises:
        BadInput: a file is missing or damaged, or pictures and labels differ in number.
    """
    folder = existing(path)

    def load(part: str, what: str, dimensions: int) -> Array:
        names = [f"{part}-{what}{dash}idx{dimensions}-ubyte{end}" for dash in "-." for end in ("", ".gz")]
        file = next((folder / name for name in names if (folder / name).is_file()), None)
        if file is None:
            raise BadInput(f"{folder} has no {names[0]}, plain or .gz", fix="give the folder with MNIST's four files")
        array = load_idx(file)
        if array.ndim != dimensions:
            raise BadInput(f"{file.name} has {array.ndim} dimensions where {dimensions} are due", where=str(file))
        return array

    with naming(folder):
        return from_arrays(
            load("train", "images", 3),
            load("train", "labels", 1),
            x_test=load("t10k", "images", 3),
            y_test=load("t10k", "labels", 1),
            card=mnist_idx_card,
            public_share=public_share,
            limit=limit,
            seed=seed,
        )


def cifar_binary(path: str | Path, *, public_share: float = 0.5, limit: int | None = None, seed: int = 0) -> Data:
    """A folder with `data_batch_1.bin` ... and `test_batch.bin` (CIFAR-10), or `train.bin` and `test.bin` (CIFAR-100).

    Labels of CIFAR-100 are the fine ones.

    Raises:
        BadInput: files are missing, or are no whole number of records.
    """
    folder = existing(path)
    ten = sorted(folder.glob("data_batch_*.bin"))
    train, test, label_bytes = (
        (ten, folder / "test_batch.bin", 1) if ten else ([folder / "train.bin"], folder / "test.bin", 2)
    )
    missing = [file.name for file in [*train, test] if not file.is_file()]
    if missing:
        raise BadInput(f"{folder} has no {' and no '.join(missing)}", fix="give the folder with CIFAR's binary files")

    def load(files: list[Path]) -> tuple[Array, Array]:
        parts = []
        for file in files:
            with reading(file, "CIFAR records"):
                check_size(file.stat().st_size)
                content = np.fromfile(file, dtype=np.uint8)
                if not len(content) or len(content) % (3072 + label_bytes):
                    raise BadInput(f"{file.name} is no whole number of records of {3072 + label_bytes} bytes")
                parts.append(content.reshape(-1, 3072 + label_bytes))
        records = np.concatenate(parts)
        return records[:, label_bytes:].reshape(-1, 3, 32, 32), records[:, label_bytes - 1]

    (x, y), (x_test, y_test) = load(train), load([test])
    return from_arrays(
        x,
        y,
        x_test=x_test,
        y_test=y_test,
        names=CIFAR10 if ten else (),
        card=cifar_binary_card,
        public_share=public_share,
        limit=limit,
        seed=seed,
    )
