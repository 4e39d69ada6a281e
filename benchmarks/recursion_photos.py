"""Exact recursion on photographs of 224 x 224 pixels: ResNet18 with its original stem (7x7 of stride 2, max pooling).

    GRADIOMETER_DATA=... python benchmarks/recursion_photos.py --batches 1 4

Photographs are the test split of `photos/caltech20`, cropped to squares and resized; the network is untrained (torch's
default weights), in eval mode, the gradient torch's in float32. Printed are the blind guess's PSNR, the lowest map that the equations determine,
its relative error, the pictures found, and CPU seconds on one thread. The split `train` served to choose settings.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from gradiometer.attacks.image import Recursive
from gradiometer.core import Batch, Client, Recipe, derive, image_layout, play
from gradiometer.metrics.image import pixels, psnr
from gradiometer.models import resnet18
from gradiometer.numerics.assignment import assign
from recursion import NOTHING, blind

SIDE, CLASSES = 224, 20
LAYOUT = image_layout((3, SIDE, SIDE), CLASSES, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def photographs(split: str) -> Batch:
    """All photographs of a split, normalized, with their labels."""
    root = os.environ.get("GRADIOMETER_DATA") or sys.exit(
        "error: set GRADIOMETER_DATA to the folder that holds photos/"
    )
    folder = Path(root) / "photos" / "caltech20"
    with (folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = sorted({row["label"] for row in rows})
    rows = [row for row in rows if row["split"] == split]
    x = torch.stack([_square(Image.open(folder / row["file"]).convert("RGB")) for row in rows])
    return Batch(x=LAYOUT["x"].normalize(x), y=torch.tensor([names.index(row["label"]) for row in rows]))


def places(model: nn.Module, x: torch.Tensor) -> float:
    """How many different active places the windows of the stem's max pooling take, a picture."""
    with torch.no_grad():
        z = model.get_submodule("bn1")(model.get_submodule("conv1")(x))
    taken, index = F.max_pool2d(z, 3, 2, 1, return_indices=True)
    count = torch.zeros_like(z).flatten(2).scatter(2, index.flatten(2), (taken > 0).float().flatten(2))
    return float(count.sum() / len(x))


def _square(image: Image.Image) -> torch.Tensor:
    side = min(image.size)
    left, up = ((length - side) // 2 for length in image.size)
    small = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=(left, up, left + side, up + side))
    return torch.tensor(np.asarray(small)).permute(2, 0, 1).float() / 255


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--evaluations", type=int, default=50, help="of the descent, for each of its eight stages")
    parser.add_argument("--split", choices=("train", "test"), default="test")
    parser.add_argument(
        "--places", action="store_true", help="count the places that max pooling takes, and attack nothing"
    )
    options = parser.parse_args()
    data = photographs(options.split)
    print(blind(photographs("train"), data, LAYOUT["x"]), flush=True)
    for examples in options.batches:
        for i in range(options.draws):
            private = data.take(torch.randperm(data.size, generator=derive(3, examples, i))[:examples].tolist())
            model = resnet18((3, SIDE, SIDE), CLASSES, init="torch", stem="imagenet", seed=i)
            if options.places:
                print(
                    f"batch {examples}, draw {i}: {places(model.eval(), private['x']):,.0f} places of {3 * SIDE**2:,} pixels"
                )
                continue
            client = Client(model=model, layout=LAYOUT, recipe=Recipe(examples=examples))
            update = play(client, private, rng=derive(0, i), threat=NOTHING)
            start = time.process_time()
            guess = Recursive(evaluations=options.evaluations).run(update, derive(1, i))
            seconds = time.process_time() - start
            truth, found = pixels(private["x"], LAYOUT["x"]), pixels(guess["x"], LAYOUT["x"])
            table = torch.stack([psnr(found, t.expand_as(found), cap=300.0) for t in truth])
            values = sorted(float(table[pair]) for pair in assign(-table))
            right = sorted(guess["y"].tolist()) == sorted(private["y"].tolist())
            print(
                f"batch {examples}, draw {i}: {', '.join(f'{v:.1f}' for v in values)} dB, exact {guess.notes['exact']}, "
                f"labels {right}, {seconds:.0f} s, {guess.notes['way']}; {guess.notes['stopped']}",
                flush=True,
            )


if __name__ == "__main__":
    main()
