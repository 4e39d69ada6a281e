"""Mixed precision: what a step in bfloat16 takes of one in float32, which decides whether it is used, and what it costs in decibels.

    GRADIOMETER_DATA=... python benchmarks/engine_precision.py

The steps are those of Inverting Gradients on the victims of benchmarks/engine.py, in turns; the pictures those of `cifar10_test3000`, on
a LeNet of ReLUs, with bfloat16 forced: before the last fifth of the iterations, scores in float32. One thread.
"""

from __future__ import annotations

import argparse

import torch
from torch import nn

from cifar import LAYOUT, pictures
from engine import VICTIMS, S, seconds
from gradiometer.attacks.image import InvertingGradients
from gradiometer.attacks.matching.problem import Problem
from gradiometer.core import Client, Recipe, Threat, derive, play
from gradiometer.metrics.image import psnr
from gradiometer.models import lenet
from gradiometer.numerics.engine import precision as mixed
from gradiometer.numerics.intervals import median_interval
from starting import begun


def relu_lenet(seed: int) -> nn.Module:
    """The small victim."""
    return lenet(S, 10, seed=seed, activation="relu")


def precision(options: argparse.Namespace) -> bool:
    """Whether mixed precision pays here, and the picture that it ends with beside float32's."""
    data = pictures("cifar10_test3000")
    victims = {"ReLU LeNet": lambda: relu_lenet(0), **{name: VICTIMS[name][0] for name in ("convnet64", "resnet18")}}
    for name, make in victims.items():
        update = play(
            Client(model=make(), layout=LAYOUT, recipe=Recipe()),
            data.take([0]),
            rng=derive(0),
            threat=Threat(labels=True),
        )
        problem, trial = begun(InvertingGradients(precision="bfloat16", start="gray"), update, derive(1), derive(2))
        start = trial.unknowns
        problem.objective(start)

        def step(low: bool, start: list[torch.Tensor] = start, problem: Problem = problem) -> float:
            return seconds(lambda: problem.objective(start, mixed=low))

        if problem.engine.computed.startswith("float32"):
            print(f"{name}, batch 1: {problem.engine.computed}", flush=True)
            continue
        part = median_interval([step(True) / step(False) for _ in range(5)])
        chosen = "bfloat16" if mixed.has_units(start[0].device) and part.value * mixed.GAIN < 1 else "float32"
        print(
            f"{name}, batch 1: a step in bfloat16 takes {part.value:.2f} [{part.lower:.2f}, {part.upper:.2f}] of one in float32 (n = 5 pairs); "
            f"units for bfloat16: {'yes' if mixed.has_units(start[0].device) else 'no'}; chosen: {chosen}",
            flush=True,
        )
    gaps = []
    for i in range(options.first, options.first + options.repeats):
        private = data.take([i])
        client = Client(model=relu_lenet(i), layout=LAYOUT, recipe=Recipe())
        update = play(client, private, rng=derive(0, i), threat=Threat(labels=True))
        found = []
        for kind in ("float32", "bfloat16"):
            guess = InvertingGradients(iterations=300, precision=kind).run(update, derive(1, i))
            found.append(float(psnr(LAYOUT["x"].denormalize(guess["x"]), LAYOUT["x"].denormalize(private["x"]))))
        gaps.append(found[1] - found[0])
        print(f"  picture {i}: {found[0]:.2f} dB, {guess.notes['precision']}: {found[1]:.2f} dB", flush=True)
    gap = median_interval(gaps)
    good = abs(gap.value) <= 0.3
    print(
        f"bfloat16 minus float32, ReLU LeNet, 300 iterations: median {gap.value:+.2f} dB [{gap.lower:+.2f}, {gap.upper:+.2f}], "
        f"from {min(gaps):+.2f} to {max(gaps):+.2f} (n = {gap.n}); wanted within 0.3 dB: {'PASS' if good else 'MISS'}"
    )
    return good


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20, help="pictures")
    parser.add_argument("--from", type=int, default=0, dest="first", help="first picture")
    raise SystemExit(0 if precision(parser.parse_args()) else 1)


if __name__ == "__main__":
    main()
