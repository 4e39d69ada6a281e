"""CIFAR-10 pictures for the benchmarks, from the lossless sheets in the folder that GRADIOMETER_DATA names."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gradiometer.core import Batch, Field, image_layout

MEAN, STD = (0.4914672, 0.4822617, 0.4467701), (0.2470322, 0.2434851, 0.2615878)
LAYOUT: dict[str, Field] = image_layout((3, 32, 32), 10, mean=MEAN, std=STD)
PLAIN: dict[str, Field] = image_layout((3, 32, 32), 10)


def pictures(name: str = "cifar10_test3000", layout: dict[str, Field] = LAYOUT) -> Batch:
    """All pictures of a sheet, normalized for `layout`, with their labels.

    Args:
        name: `cifar10_test3000` (to evaluate) or `cifar10_train8000` (to tune, and as public data).
    """
    root = os.environ.get("GRADIOMETER_DATA")
    if not root:
        sys.exit("error: set GRADIOMETER_DATA to the folder that holds images/cifar10_test3000.png")
    folder = Path(root) / "images"
    with (folder / f"{name}.csv").open() as rows:
        labels = [int(row["label"]) for row in csv.DictReader(rows)]
    sheet = np.asarray(Image.open(folder / f"{name}.png")).reshape(-1, 32, 32, 3)
    pixels = torch.tensor(sheet).permute(0, 3, 1, 2).float() / 255
    return Batch(x=layout["x"].normalize(pixels), y=torch.tensor(labels))
