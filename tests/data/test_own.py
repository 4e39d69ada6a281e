"""Bring your own: round trips of every format, and damaged, hostile or missing files."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gradiometer.core import BadInput, Unsupported
from gradiometer.data import DATA, cifar_binary, image_folder, medmnist, mnist_idx, npz

SHARED = os.environ.get("GRADIOMETER_DATA")
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (12, 28, 28), dtype=np.uint8)
Y = (np.arange(12) % 3).astype(np.uint8)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def mnist(tmp_path):
    for part in ("train", "t10k"):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(X))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(Y)))
    return tmp_path


@pytest.fixture
def cifar(tmp_path):
    records = np.concatenate([Y[:, None], RNG.integers(0, 256, (12, 3072), dtype=np.uint8)], 1)
    for name in ("data_batch_1", "data_batch_2", "test_batch"):
        (tmp_path / f"{name}.bin").write_bytes(records.tobytes())
    return tmp_path, records


@pytest.fixture
def folder(tmp_path):
    for label, name in enumerate(("benign", "malignant")):
        (tmp_path / name / "deep").mkdir(parents=True)
        for i in range(5):
            picture = Image.new("RGB", (40 + i, 50), (100 * label, 20 * i, 7))
            picture.save(tmp_path / name / ("deep" if i else ".") / f"{i}.{'png' if i % 2 else 'jpg'}")
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def pixels(batch) -> set[bytes]:
    return {(x * 255).round().byte().numpy().tobytes() for x in batch["x"]}


def test_mnist_idx(mnist):
    data = mnist_idx(mnist)
    assert (data.private.size, data.public.size, data.test.size) == (6, 6, 12)
    assert data.layout["x"].shape == (1, 28, 28)
    assert pixels(data.private) | pixels(data.public) == {x.tobytes() for x in X} == pixels(data.test)
    assert mnist_idx(mnist, limit=4).test.size == 4


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cannot be read"),
        (b"\0\0\x08", "cannot be read"),
        (b"GIF89a and more", "no IDX file"),
        (idx(X)[:-1], "announces 9408 bytes of data and holds 9407"),
        (idx(X) + b"!", "holds more"),
        (struct.pack(">HBB3I", 0, 8, 3, 2**31, 2**31, 4), "GiB"),
        (idx(Y), "1 dimensions where 3"),
        (idx(X[:5]), "5 pictures and 12 labels"),
    ],
)
def test_damaged_idx(mnist, content, says):
    (mnist / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(BadInput, match=says) as caught:
        mnist_idx(mnist)
    assert str(mnist) in str(caught.value)


def test_damaged_gzip_and_missing_idx(mnist):
    packed = mnist / "t10k-labels-idx1-ubyte.gz"
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(BadInput, match="t10k-labels"):
        mnist_idx(mnist)
    packed.unlink()
    with pytest.raises(BadInput, match="has no t10k-labels-idx1-ubyte"):
        mnist_idx(mnist)


def test_cifar_binary(cifar):
    path, records = cifar
    data = cifar_binary(path)
    assert (data.private.size, data.public.size, data.test.size) == (12, 12, 12)
    assert data.names[3] == "cat"
    assert pixels(data.test) == {record.tobytes() for record in records[:, 1:]}
    order = {record[1:].tobytes(): record[0] for record in records}
    for x, y in zip(data.test["x"], data.test["y"]):
        assert order[(x * 255).round().byte().numpy().tobytes()] == y


def test_cifar_100_and_damaged_cifar(cifar, tmp_path):
    path, records = cifar
    (path / "data_batch_2.bin").write_bytes(records.tobytes()[:-5])
    with pytest.raises(BadInput, match=r"data_batch_2\.bin is no whole number of records"):
        cifar_binary(path)
    hundred = tmp_path / "hundred"
    hundred.mkdir()
    with pytest.raises(BadInput, match=r"no train\.bin and no test\.bin"):
        cifar_binary(hundred)
    both = np.concatenate([np.full((12, 1), 9, np.uint8), records], 1)
    for name in ("train", "test"):
        (hundred / f"{name}.bin").write_bytes(both.tobytes())
    assert sorted(set(cifar_binary(hundred).test["y"].tolist())) == [0, 1, 2]  # the fine labels, not the coarse 9


def test_image_folder(folder):
    data = image_folder(folder, 16)
    assert data.names == ("benign", "malignant")
    assert (data.private.size, data.public.size, data.test.size) == (4, 4, 2)
    for batch in (data.private, data.public, data.test):
        assert ((batch["x"][:, 0].mean((1, 2)) > 0.2).long() == batch["y"]).all()
    assert image_folder(folder, 8, gray=True, limit=6).layout["x"].shape == (1, 8, 8)
    assert not data.card.public


def test_folders_that_are_none(folder, tmp_path_factory):
    with pytest.raises(BadInput, match=r"malignant.* does not exist|does not exist"):
        image_folder(folder / "malignent")
    with pytest.raises(BadInput, match='did you mean "malignant"'):
        image_folder(folder / "malignent")
    with pytest.raises(BadInput, match="is a file"):
        image_folder(folder / "notes.txt")
    with pytest.raises(BadInput, match="0 subfolders with pictures"):
        image_folder(folder / "benign" / "deep")
    parts = tmp_path_factory.mktemp("parts")
    for part in ("train", "test"):
        (parts / part).mkdir()
        Image.new("L", (9, 9)).save(parts / part / "a.png")
    with pytest.raises(BadInput, match="parts, no classes"):
        image_folder(parts)


def test_damaged_pictures_and_bombs(folder, monkeypatch):
    bad = folder / "benign" / "broken.png"
    good = (folder / "benign" / "deep" / "1.png").read_bytes()
    for content in (b"", b"hello", good[: len(good) // 2]):
        bad.write_bytes(content)
        with pytest.raises(BadInput, match=r"broken\.png cannot be read as a picture") as caught:
            image_folder(folder)
        assert str(bad) in str(caught.value)
    stream = io.BytesIO()
    Image.new("1", (9000, 9000)).save(stream, "PNG")  # 81 million pixels in a few kilobytes
    bad.write_bytes(stream.getvalue())
    with pytest.raises(BadInput, match="9000 x 9000"):
        image_folder(folder)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(BadInput, match="bomb"):
        image_folder(folder)


def test_npz(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=X, y=Y)
    assert pixels(npz(path, test_share=0.0, public_share=0.0).private) == {x.tobytes() for x in X}
    np.savez(path, x_train=X, y_train=Y, x_test=X[:5], y_test=Y[:5])
    assert npz(path).test.size == 5
    np.savez(path, pictures=X)
    with pytest.raises(BadInput, match="no arrays x and y, only pictures"):
        npz(path)
    np.savez(path, x=X, y=Y[:3])
    with pytest.raises(BadInput, match="12 pictures and 3 labels") as caught:
        npz(path)
    assert "a.npz" in str(caught.value)


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("executed",))


def test_npz_never_unpickles(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.npz"
    np.savez(path, x=X, y=np.array([Bomb()] * 12, dtype=object))
    with pytest.raises(BadInput, match=r"evil\.npz cannot be read"):
        npz(path)
    assert not (tmp_path / "executed").exists()


def test_npz_bombs(tmp_path, monkeypatch):
    path = tmp_path / "large.npz"
    np.savez_compressed(path, x=np.zeros((100, 200, 200), np.uint8), y=np.zeros(100, int))
    assert path.stat().st_size < 10_000
    monkeypatch.setattr("gradiometer.data.reading.MAX_BYTES", 10**6)
    with pytest.raises(BadInput, match="unpacks to"):
        npz(path)
    # A header that announces terabytes before eight bytes of data.
    with zipfile.ZipFile(path, "w") as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**43,)})
        archive.writestr("x.npy", header.getvalue() + b"12345678")
    with pytest.raises(BadInput, match=r"large\.npz cannot be read"):
        npz(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_mutated_files_give_a_message_and_no_traceback(tmp_path, data):
    path = tmp_path / "m.npz"
    np.savez_compressed(path, x=X[:3], y=Y[:3])
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]))
    with contextlib.suppress(BadInput):  # anything else is a traceback; harmless mutations load
        npz(path)


def medical_arrays(**changed) -> dict[str, np.ndarray]:
    arrays = {
        f"{part}_{what}": a for part in ("train", "val", "test") for what, a in (("images", X), ("labels", Y[:, None]))
    }
    return arrays | changed


def test_medmnist(tmp_path):
    path = tmp_path / "pneumoniamnist.npz"
    np.savez(path, **medical_arrays())
    data = medmnist(path)
    assert (data.private.size, data.public.size, data.test.size) == (12, 12, 12)
    np.savez(path, x=X)
    with pytest.raises(BadInput, match="no MedMNIST archive: it lacks train_images"):
        medmnist(path)
    np.savez(path, **medical_arrays(train_labels=np.zeros((12, 14), int)))
    with pytest.raises(Unsupported, match="several labels"):
        medmnist(path)
    np.savez(path, **medical_arrays(train_images=np.zeros((12, 28, 28, 28), np.uint8)))
    with pytest.raises(Unsupported, match="volumes"):
        medmnist(path)
    with pytest.raises(BadInput, match="does not exist"):
        medmnist(tmp_path / "nothing.npz")


def test_own_data_are_never_public():
    own = ("image_folder", "npz", "mnist_idx", "cifar_binary", "medmnist", "jsonl", "molecules", "citations")
    assert all(DATA[name][1].public == (name not in own) for name in DATA)


@pytest.mark.slow
@pytest.mark.skipif(not SHARED, reason="needs GRADIOMETER_DATA")
def test_mnist_as_published():
    data = npz(Path(SHARED or "") / "images/mnist.npz", limit=10_000)
    assert (data.private.size, data.public.size, data.test.size) == (5000, 5000, 10_000)
    assert torch.bincount(data.test["y"]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
