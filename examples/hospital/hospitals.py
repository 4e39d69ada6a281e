"""Five hospitals that train one small network together: which pictures each has, and what it sends.

Every function named after a hospital returns what `target = "hospitals:north"` in a plan asks for. The environment variable
HOSPITAL_DATA says whose pictures they share out: `tiles` (built in), or `mednist` or `pneumonia` in the folder
GRADIOMETER_DATA; HOSPITAL_SEED how they are dealt, and the first weights. With HOSPITAL_DEVELOP set, public pictures are dealt
in place of the private ones: settings are chosen there.
"""

from __future__ import annotations

import io
import os
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gradiometer import Client, Recipe, data, models
from gradiometer.core import Data, DataCard, derive
from gradiometer.federation import dirichlet_split

NAMES = ("north", "south", "east", "west", "university")
ALPHA = 1.0
"""Of the Dirichlet split of labels over hospitals: each has other patients."""
RARE = {"tiles": 4, "mednist": 1, "pneumonia": 1}
"""The class that counts as the rare disease: microaneurysms; breast MRI; pneumonia."""


def source() -> str:
    """Whose pictures the hospitals have."""
    return os.environ.get("HOSPITAL_DATA", "tiles")


def seed() -> int:
    """Of the split and of the first weights."""
    return int(os.environ.get("HOSPITAL_SEED", "0"))


@cache
def everything() -> Data:
    """All pictures, half of them from a second scanner: a property that no label tells."""
    made = {"tiles": partial(data.medical, 16), "mednist": _mednist, "pneumonia": _pneumonia}[source()]()
    if os.environ.get("HOSPITAL_DEVELOP"):
        made = _public_alone(made)
    return data.two_scanners(made, contrast=0.5, brightness=0.15)


def _public_alone(known: Data) -> Data:
    """Public pictures in place of all others: three in five are dealt, the rest is the test set."""
    assert known.public is not None
    order = torch.randperm(known.public.size, generator=derive(seed(), "develop"))
    dealt, test = order.split([wall := known.public.size * 3 // 5, known.public.size - wall])
    own = known.public.take(dealt)
    return replace(known, private=own, public=own, test=known.public.take(test))


def hospital(name: str) -> tuple[Client, Data]:
    """What one hospital trains with: its share of the private pictures; what is public is public to all."""
    whole = everything()
    split = dirichlet_split(whole.private["y"], len(NAMES), alpha=ALPHA, rng=derive(seed(), "hospitals"), smallest=12)
    number = NAMES.index(name)
    assert whole.test is not None
    test = whole.test.take(slice(number, None, len(NAMES)))
    return _client(whole, 1), replace(whole, private=whole.private.take(split[number]), test=test)


def together() -> tuple[Client, Data]:
    """All hospitals behind secure aggregation: the mean of their gradients is that of one batch with a picture of each."""
    return _client(everything(), len(NAMES)), everything()


def _client(whole: Data, examples: int) -> Client:
    model = models.lenet(whole.layout["x"].shape, len(whole.names), activation="tanh", seed=seed())
    return Client(model=model, layout=whole.layout, recipe=Recipe(sends="delta", examples=examples, lr=1.0))


north, south, east, west, university = (partial(hospital, name) for name in NAMES)


def _folder() -> Path:
    root = os.environ.get("GRADIOMETER_DATA")
    if not root:
        raise SystemExit("error: set GRADIOMETER_DATA to the folder that holds medical/")
    return Path(root) / "medical"


def _pneumonia() -> Data:
    found = data.npz(_folder() / "pneumoniamnist28.npz", limit=1200)
    return replace(found, names=("normal", "pneumonia"), card=_card("PneumoniaMNIST", "CC BY 4.0"))


def _mednist() -> Data:
    """Six kinds of scans, halved to 32 x 32 pixels."""
    with np.load(_folder() / "mednist64_jpeg.npz", allow_pickle=False) as archive:
        ends, stream, y = archive["offset_train"], archive["jpeg_train"].tobytes(), archive["y_train"]
    order = torch.randperm(len(y), generator=derive(0, "mednist"))[:1200].tolist()
    pictures = [Image.open(io.BytesIO(stream[ends[i] : ends[i + 1]])).convert("L").resize((32, 32)) for i in order]
    names = ("abdomen CT", "breast MRI", "chest X-ray", "chest CT", "hand", "head CT")
    x = np.stack([np.asarray(picture) for picture in pictures])
    return data.from_arrays(x, y[order].astype(np.int64), names=names, card=_card("MedNIST", "CC BY-SA 4.0"))


def _card(name: str, license: str) -> DataCard:
    return DataCard(name=name, license=license, public=True)


__all__ = ["NAMES", "RARE", "everything", "hospital", "seed", "source", "together", *NAMES]
