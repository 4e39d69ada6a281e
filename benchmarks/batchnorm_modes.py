"""What the mode of BatchNorm does to a reconstruction: ResNet20 (untrained), batch 4, CIFAR-10, labels granted.

    GRADIOMETER_DATA=... python benchmarks/batchnorm_modes.py

Three clients with the same weights and pictures: eval mode; train mode, matched without statistics; train mode, matched
with the exact batch statistics that the client's buffers betray. Expected: eval > train with statistics > train. All start
from gray; the weights were chosen on two batches of `cifar10_train8000` (total variation from 1e-4 to 0.2, statistics from
3e-4 to 0.1), the pictures of `cifar10_test3000` only evaluate. Networks start from torch's default weights. One thread, about
90 seconds a batch and mode. PSNR is that of one-to-one matched pictures; intervals are cluster bootstraps over batches.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import torch
from torch import Tensor

from cifar import LAYOUT, pictures
from gradiometer.attacks.image import GIARunning
from gradiometer.core import Attack, Batch, Client, Recipe, Threat, derive, play
from gradiometer.metrics.image import psnr
from gradiometer.models import resnet20
from gradiometer.numerics.assignment import assign
from gradiometer.numerics.intervals import cluster_bootstrap
from gradiometer.numerics.priors import BatchStatistics, TotalVariation

TRAIN, EVAL = Recipe(mode="train", shares_buffers=True), Recipe(mode="eval")


def quality(guess: Tensor, truth: Tensor) -> list[float]:
    """PSNR of every true picture in [0,1], guesses being matched one to one by their error."""
    guess, truth = LAYOUT["x"].denormalize(guess), LAYOUT["x"].denormalize(truth)
    pairs = assign((truth[:, None] - guess[None]).square().flatten(2).mean(2))
    return [float(psnr(guess[j : j + 1], truth[i : i + 1])) for i, j in pairs]


def attacked(attack: Attack, recipe: Recipe, private: Batch, index: int) -> list[float]:
    client = Client(model=resnet20((3, 32, 32), 10, seed=index, init="torch"), layout=LAYOUT, recipe=recipe)
    update = play(client, private, rng=derive(0, index), threat=Threat(labels=True))
    return quality(attack.run(update, derive(1, index))["x"], private["x"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--sheet", default="cifar10_test3000", help="cifar10_train8000 to tune")
    args = parser.parse_args()
    torch.set_num_threads(1)
    informed = GIARunning(
        iterations=args.iterations,
        priors=(TotalVariation(weight=0.05), BatchStatistics(weight=0.02, source="exact")),
        start="gray",
    )
    plain = replace(informed, priors=tuple(p for p in informed.priors if not isinstance(p, BatchStatistics)))
    arms: dict[str, tuple[Attack, Recipe]] = {
        "eval": (plain, EVAL),
        "train + statistics": (informed, TRAIN),
        "train": (plain, TRAIN),
    }
    data = pictures(args.sheet)
    found: dict[str, list[float]] = {name: [] for name in [*arms, "gray"]}
    clusters: list[int] = []
    for b in range(args.batches):
        private = data.take(slice(4 * b, 4 * b + 4))
        clusters += [b] * 4
        found["gray"] += quality(LAYOUT["x"].normalize(torch.full_like(private["x"], 0.5)), private["x"])
        for name, (attack, recipe) in arms.items():
            start = time.process_time()
            found[name] += attacked(attack, recipe, private, b)
            mean = sum(found[name][-4:]) / 4
            print(f"batch {b}, {name}: {mean:.2f} dB in {time.process_time() - start:.0f} s", flush=True)
    for name, values in found.items():
        shown = cluster_bootstrap(values, clusters, derive(2))
        print(
            f"{name}: mean {shown.value:.2f} dB [{shown.lower:.2f}, {shown.upper:.2f}], n = {shown.n} in {args.batches} batches"
        )
    reached = True
    for better, worse in (("eval", "train + statistics"), ("train + statistics", "train")):
        gaps = [a - b for a, b in zip(found[better], found[worse])]
        shown = cluster_bootstrap(gaps, clusters, derive(2))
        passed = shown.lower > 0
        reached &= passed
        print(
            f"{better} - {worse}: {shown.value:.2f} dB [{shown.lower:.2f}, {shown.upper:.2f}], n = {shown.n} "
            f"({shown.method})  threshold: interval above 0: {'PASS' if passed else 'MISS'}"
        )
    return 0 if reached else 1


if __name__ == "__main__":
    raise SystemExit(main())
