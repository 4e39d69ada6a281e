"""Exact recursion on CIFAR-10: LeNet of several widths, a small ViT, ResNet18 with batches, all without labels or batch size.

    GRADIOMETER_DATA=... python benchmarks/recursion.py lenet
    GRADIOMETER_DATA=... python benchmarks/recursion.py resnet18 --batches 1 2 4
    GRADIOMETER_DATA=... python benchmarks/recursion.py vit
    GRADIOMETER_DATA=... python benchmarks/recursion.py activations

Every row draws its own pictures from `cifar10_test3000` and its own untrained network; gradients are torch's in float32.
ResNet18 starts from torch's default weights. With `--init he` its logits exceed ten, and an example that is classified
right by chance sends no gradient above float32's rounding: nothing of it can come back.
Seconds are of CPU, one thread, the attack alone, torch's one-time imports before. Settings were chosen on
`cifar10_train8000`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from cifar import LAYOUT, pictures
from gradiometer.attacks.image import Recursive
from gradiometer.core import Batch, Client, Field, Guess, NotApplicable, Recipe, Threat, derive, play
from gradiometer.metrics.image import pixels, psnr
from gradiometer.models import lenet, resnet18, vit
from gradiometer.numerics.assignment import assign
from gradiometer.numerics.intervals import median_interval, wilson

NOTHING = Threat(recipe=False, batch_size=False, buffers=False, public=False)
LENETS = [
    ("sigmoid", 12, 75.0, 1.0),
    ("relu", 24, 120.0, 1.0),
    ("relu", 48, 120.0, 1.0),
    ("relu", 16, 25.0, 60.0),
    ("relu", 12, 25.0, 60.0),
]
ACTIVATIONS = [(name, width, 60.0, 60.0) for name in ("gelu", "silu", "tanh", "leaky_relu") for width in (24, 48)]
RESNETS = {1: (120.0, 1.0, 5.0), 2: (110.0, 0.95, 12.0), 4: (110.0, 0.95, 12.0), 8: (60.0, 0.0, 600.0)}


def scores(guess: Guess, private: Batch, field: Field = LAYOUT["x"]) -> list[float]:
    """PSNR of every private picture, matched one to one with the guesses; 0 dB where there is no guess."""
    if "x" not in guess:
        return [0.0] * private.size
    truth, found = pixels(private["x"], field), pixels(guess["x"], field)
    table = torch.stack([psnr(found, t.expand_as(found), cap=300.0) for t in truth])
    result = [0.0] * private.size
    for i, j in assign(-table):
        result[i] = float(table[i, j])
    return result


def blind(public: Batch, private: Batch, field: Field) -> str:
    """What somebody reaches who sees no gradient: the mean public picture beside every private one."""
    mean = pixels(public["x"], field).mean(0, keepdim=True)
    middle = median_interval([float(psnr(mean, one[None])) for one in pixels(private["x"], field)])
    return f"mean public picture {middle.value:.1f} dB [{middle.lower:.1f}, {middle.upper:.1f}] (n = {private.size})"


def seeded(
    make: Callable[..., nn.Module], shape: tuple[int, int, int] = (3, 32, 32), **settings: Any
) -> Callable[[int], nn.Module]:
    """Networks of ten classes by their seeds."""
    return lambda seed: make(shape, 10, seed=seed, **settings)


def row(
    name: str,
    model_of: Callable[[int], nn.Module],
    examples: int,
    draws: int,
    sheet: str,
    want: tuple[float, float, float],
    *,
    given: tuple[Batch, dict[str, Field]] | None = None,
) -> bool:
    """Prints one row and whether it reaches its thresholds.

    Args:
        given: pictures and their layout instead of a CIFAR-10 sheet.
    """
    data, layout = given or (pictures(sheet, LAYOUT), LAYOUT)
    found: list[float] = []
    worst: list[float] = []
    seconds: list[float] = []
    labels = exact = 0
    for i in range(draws):
        private = data.take(torch.randperm(data.size, generator=derive(3, examples, i))[:examples].tolist())
        client = Client(model=model_of(i), layout=layout, recipe=Recipe(examples=examples))
        update = play(client, private, rng=derive(0, i), threat=NOTHING)
        start = time.process_time()
        try:
            guess = Recursive().run(update, derive(1, i))
        except NotApplicable as refusal:
            guess = Guess(tensors={}, notes={"exact": False, "way": str(refusal), "stopped": ""})
        seconds.append(time.process_time() - start)
        values = scores(guess, private, layout["x"])
        found, worst = [*found, *values], [*worst, min(values)]
        labels += "y" in guess and sorted(guess["y"].tolist()) == sorted(private["y"].tolist())
        exact += bool(guess.notes["exact"])
        print(
            f"  {i}: {min(values):.1f} dB, {seconds[-1]:.1f} s, exact {guess.notes['exact']}, {guess.notes['way']}; "
            f"{guess.notes['stopped']}",
            flush=True,
        )
    middle, spent = median_interval(found), median_interval(seconds)
    above = wilson(sum(value > 100 for value in worst), draws)
    passed = middle.value >= want[0] and above.value >= want[1] and spent.value <= want[2]
    print(
        f"{name}: median {middle.value:.1f} dB [{middle.lower:.1f}, {middle.upper:.1f}] (n = {len(found)}), worst {min(found):.1f}, "
        f"above 100 dB {above.value:.2f} [{above.lower:.2f}, {above.upper:.2f}] of {draws} draws, above 60 dB "
        f"{sum(v > 60 for v in found) / len(found):.2f}, labels {labels}, called exact {exact}, median {spent.value:.1f} s; "
        + (
            f"wanted {want[0]:.0f} dB, {want[1]:.2f}, {want[2]:.0f} s: {'PASS' if passed else 'MISS'}"
            if want[0]
            else "reported"
        ),
        flush=True,
    )
    return passed


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("lenet", "activations", "vit", "resnet18"))
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--init", choices=("torch", "he"), default="torch")
    parser.add_argument("--sheet", default="cifar10_test3000")
    options = parser.parse_args()
    torch.optim.LBFGS([torch.zeros(1, requires_grad=True)])  # imports what torch loads on first use
    good = []
    if options.what in {"lenet", "activations"}:
        for activation, channels, decibels, limit in LENETS if options.what == "lenet" else ACTIVATIONS:
            good.append(
                row(
                    f"LeNet {activation}, width {channels}",
                    seeded(lenet, activation=activation, channels=channels),
                    1,
                    options.draws,
                    options.sheet,
                    (decibels, 0.0, limit),
                )
            )
    elif options.what == "vit":
        for pool in ("class", "mean"):
            good.append(
                row(
                    f"ViT, patch 4, pool {pool}",
                    seeded(vit, pool=pool),
                    1,
                    options.draws,
                    options.sheet,
                    (60.0, 0.0, 60.0),
                )
            )
    else:
        for examples in options.batches:
            good.append(
                row(
                    f"ResNet18 ({options.init} weights), batch {examples}",
                    lambda seed: resnet18((3, 32, 32), 10, seed=seed, init=options.init),
                    examples,
                    options.draws,
                    options.sheet,
                    RESNETS[examples],
                )
            )
    raise SystemExit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
