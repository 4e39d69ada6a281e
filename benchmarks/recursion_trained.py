"""Exact recursion on trained networks, and on medical tiles of 64x64; without labels or batch size.

    GRADIOMETER_DATA=... python benchmarks/recursion_trained.py resnet20 --epochs 1 5 20
    GRADIOMETER_DATA=... python benchmarks/recursion_trained.py resnet18 --epochs 1 5 --weights trained
    GRADIOMETER_DATA=... python benchmarks/recursion_trained.py published
    GRADIOMETER_DATA=... python benchmarks/recursion_trained.py mednist

Networks are trained on `cifar10_train8000` (SGD with momentum, batches of 64) from torch's weights, and attacked with pictures of
`cifar10_test3000`; with `--weights`, what was trained is kept in that folder and read the next time; `published` is the ResNet20 whose weights were published. Rows are those of `recursion.py`. The more
certain a network is of a picture, the smaller p - y and with it the whole gradient: its own line tells the median of 1 - p.
"""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_model, save_model
from torch import nn

from cifar import LAYOUT, pictures
from gradiometer.core import Batch, Data, Field, clone_model, image_layout
from gradiometer.models import resnet18, resnet20, trained
from recursion import blind, row

MADE = {"resnet18": resnet18, "resnet20": resnet20}
ANY = (0.0, 0.0, float("inf"))
PUBLISHED = image_layout((3, 32, 32), 10, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def mednist(split: str) -> tuple[Batch, dict[str, Field]]:
    """The 6,000 tiles `train` or the 1,200 `test`, 64x64, gray, of six kinds."""
    layout = image_layout((1, 64, 64), 6, mean=(0.5,), std=(0.25,))
    with np.load(Path(os.environ["GRADIOMETER_DATA"]) / "medical/mednist64_jpeg.npz") as arrays:
        data, offset, y = arrays[f"jpeg_{split}"].tobytes(), arrays[f"offset_{split}"], arrays[f"y_{split}"]
    tiles = [np.asarray(Image.open(io.BytesIO(data[a:b])).convert("L")) for a, b in pairwise(offset)]
    pixels = torch.tensor(np.stack(tiles))[:, None].float() / 255
    return Batch(x=layout["x"].normalize(pixels), y=torch.tensor(y).long()), layout


def published() -> nn.Module:
    """ResNet20 with the published CIFAR-10 weights."""
    model = resnet20((3, 32, 32), 10).eval()
    with np.load(Path(os.environ["GRADIOMETER_DATA"]) / "weights/cifar10_resnet20.npz") as weights:
        model.load_state_dict({key: torch.tensor(weights[key]) for key in weights.files}, strict=False)
    return model


def aged(what: str, epochs: list[int], folder: Path | None, data: Data) -> Iterator[tuple[int, nn.Module]]:
    """The network after each number of epochs, trained on from one to the next."""
    model: nn.Module = MADE[what]((3, 32, 32), 10, init="torch", seed=0).eval()
    done = 0
    for epoch in epochs:
        file = folder / f"{what}_{epoch}.safetensors" if folder else None
        if file is not None and file.exists():
            model = clone_model(model)
            load_model(model, file)
        else:
            model = trained(model, data, steps=(epoch - done) * 125, lr=0.05, seed=epoch)
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                save_model(model, str(file))
        done = epoch
        yield epoch, model


def certainty(model: nn.Module, data: Batch) -> str:
    """Accuracy and the median of 1 - p of the right class."""
    with torch.no_grad():
        p = model(data["x"][:500]).softmax(1)
    y = data["y"][:500]
    wrong = 1 - p[torch.arange(len(y)), y]
    return f"accuracy {float((p.argmax(1) == y).double().mean()):.3f}, median 1 - p {float(wrong.median()):.1e}"


def network(trained: nn.Module | None, seed: int) -> nn.Module:
    """The same trained network for all seeds, or an untrained ResNet18 for tiles of 64 x 64."""
    return trained or resnet18((1, 64, 64), 6, init="torch", seed=seed)


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=(*MADE, "published", "mednist"))
    parser.add_argument("--epochs", type=int, nargs="*", default=[1, 5, 20])
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help="keeps what was trained, and reads it again")
    options = parser.parse_args()
    torch.optim.LBFGS([torch.zeros(1, requires_grad=True)])  # imports what torch loads on first use
    sheet = "cifar10_test3000"
    rows: Iterable[tuple[str, nn.Module | None, tuple[Batch, dict[str, Field]]]]
    if options.what == "mednist":
        tiles, layout = mednist("test")
        rows = [("ResNet18 (torch weights), MedNIST 64x64", None, (tiles, layout))]
        print(f"MedNIST, {blind(mednist('train')[0], tiles, layout['x'])}", flush=True)
    elif options.what == "published":
        rows = [("ResNet20, published weights", published(), (pictures(sheet, PUBLISHED), PUBLISHED))]
    else:
        data = Data(private=pictures(sheet), layout=LAYOUT, public=pictures("cifar10_train8000"))
        ages = aged(options.what, options.epochs, options.weights, data)
        rows = ((f"{options.what} trained for {age} epochs", model, (data.private, LAYOUT)) for age, model in ages)
    for name, ready, given in rows:
        if ready is not None:
            print(f"{name}: {certainty(ready, given[0])}", flush=True)
        for examples in options.batches:
            row(
                f"{name}, batch {examples}",
                partial(network, ready),
                examples,
                options.draws,
                sheet,
                ANY,
                given=given,
            )


if __name__ == "__main__":
    main()
