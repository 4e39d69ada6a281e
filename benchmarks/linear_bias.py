"""LinearBias on CIFAR-10: an MLP 3072-1024-1024-10 and one picture; a first layer without bias; whole batches.

    GRADIOMETER_DATA=... python benchmarks/linear_bias.py [--images 20] [--batches 2,4,8,16,32] [--repeats 5]

Every update has its own untrained network. About three minutes on one thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn

from cifar import LAYOUT, pictures
from gradiometer.attacks.image import LinearBias
from gradiometer.core import Batch, Client, derive, play
from gradiometer.metrics.image import pixels, psnr
from gradiometer.models import mlp
from gradiometer.numerics.assignment import assign
from gradiometer.numerics.intervals import clustered_rate, median_interval

SHAPE = (3, 32, 32)
RECOVERED = 40.0
"""From how many dB on a picture of a batch counts as recovered."""


def attacked(model: nn.Module, private: Batch, seed: int) -> tuple[Tensor, Tensor]:
    """PSNR of every private picture's guess (-inf without one), and of every confident guess's nearest picture."""
    update = play(Client(model=model, layout=LAYOUT), private, rng=derive(0, seed))
    guess = LinearBias().run(update, derive(1, seed))
    found, truth = (pixels(x, LAYOUT["x"]) for x in (guess["x"], private["x"]))
    table = torch.stack([psnr(found, one.expand_as(found)) for one in truth])
    best = torch.full((private.size,), -torch.inf, dtype=table.dtype)
    for row, column in assign(-table):
        best[row] = table[row, column]
    assert guess.confidence is not None
    return best, table.max(0).values[guess.confidence > 0]


def without_first_bias(seed: int) -> nn.Module:
    model = mlp(SHAPE, 10, seed=seed)
    first, old = nn.Linear(3072, 1024, bias=False), model[1]
    assert isinstance(old, nn.Linear)
    first.weight = old.weight
    model[1] = first
    return model


def single(name: str, make: Callable[[int], nn.Module], images: int, threshold: float) -> bool:
    data = pictures()
    values = [float(attacked(make(i), data.take([i]), i)[0][0]) for i in range(images)]
    found = median_interval(values)
    reached = found.value >= threshold
    print(
        f"{name}, batch 1: median {found.value:.1f} dB [{found.lower:.1f}, {found.upper:.1f}], n = {found.n} "
        f"({found.method})  threshold {threshold:.0f} dB: {'PASS' if reached else 'MISS'}",
        flush=True,
    )
    return reached


def batches(sizes: list[int], repeats: int) -> None:
    data = pictures()
    for size in sizes:
        hits, clusters, sure, right = [], [], 0, 0
        for turn in range(repeats):
            rows = torch.randperm(data.size, generator=derive(2, size, turn))[:size]
            best, confident = attacked(mlp(SHAPE, 10, seed=turn), data.take(rows), turn)
            hits += (best >= RECOVERED).long().tolist()
            clusters += [turn] * size
            sure, right = sure + len(confident), right + int((confident >= RECOVERED).sum())
        rate = clustered_rate(hits, clusters)
        print(
            f"batch {size}: {rate.value:.0%} of the pictures at {RECOVERED:.0f} dB or more "
            f"[{rate.lower:.0%}, {rate.upper:.0%}], n = {len(hits)} in {repeats} batches ({rate.method}); "
            f"{right} of {sure} confident guesses are right",
            flush=True,
        )


def main() -> int:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--batches", default="2,4,8,16,32")
    parser.add_argument("--repeats", type=int, default=5)
    settings = parser.parse_args()
    reached = single("MLP 3072-1024-1024-10", lambda i: mlp(SHAPE, 10, seed=i), settings.images, 100.0)
    single("the same without the first bias", without_first_bias, max(1, settings.images // 4), 100.0)
    batches([int(size) for size in settings.batches.split(",") if size], settings.repeats)
    return 0 if reached else 1


if __name__ == "__main__":
    raise SystemExit(main())
