"""What quantized gradients of one MNIST picture still show, by bits, attack and knowledge of the attacker.

    GRADIOMETER_DATA=... python benchmarks/quantization.py

The terms are those of a published claim that 8-bit quantization with one range for all layers stops reconstruction: an
untrained perceptron 784-64-10, batch 1. Pictures are from the MNIST test set, each with a network of its own; settings were
chosen on training pictures. Labels are not granted: InvertingGradients takes them from RowSum. `informed` is the
attacker who knows the quantizer, `naive` takes what was sent for the gradient. One thread, about 20 minutes of CPU; with
`--attacks LinearBias labels` well under one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

from gradiometer.attacks.image import InvertingGradients, LinearBias
from gradiometer.attacks.inference import RowSum
from gradiometer.core import Attack, Batch, Client, Defense, derive, image_layout, play
from gradiometer.defenses import Quantize, Sign, Ternary
from gradiometer.metrics.image import psnr
from gradiometer.models import mlp
from gradiometer.numerics.intervals import clopper_pearson, median_interval
from gradiometer.numerics.priors import TotalVariation

LAYOUT = image_layout((1, 28, 28), 10)
ROWS: dict[str, Defense] = {
    "32 bits (none)": Quantize(bits=32),
    "8 bits, one range": Quantize(bits=8),
    "4 bits, one range": Quantize(bits=4),
    "3 bits, one range": Quantize(bits=3),
    "2 bits, one range": Quantize(bits=2),
    "ternary": Ternary(),
    "sign": Sign(),
}
SMOOTH = 0.003
"""Weight of the total variation: the default, 0.2, is for convolutional networks and costs 20 dB here."""
LEAST_DB = 45.0
TOLERANCE_DB = 0.5
CHOICES = ["LinearBias", "InvertingGradients", "labels"]
Figures = dict[tuple[str, str, str], list[float]]


def mnist(part: str) -> Batch:
    """All pictures of `train` or `test`, pixels in [0, 1]."""
    root = os.environ.get("GRADIOMETER_DATA")
    if not root:
        sys.exit("error: set GRADIOMETER_DATA to the folder that holds images/mnist.npz")
    with np.load(Path(root) / "images" / "mnist.npz") as arrays:
        x, y = torch.tensor(arrays[f"x_{part}"]), torch.tensor(arrays[f"y_{part}"])
    return Batch(x=x[:, None].float() / 255, y=y.long())


def measure(private: Batch, attacks: dict[str, Attack]) -> tuple[Figures, dict[str, int]]:
    """PSNR (or, for labels, 1 if right) of every picture, by row, attack and attacker; and bytes of a message."""
    figures: Figures = {}
    size: dict[str, int] = {}
    for row, defense in ROWS.items():
        start = time.time()
        for i in range(private.size):
            truth = private.take([i])
            client = Client(model=mlp((1, 28, 28), 10, widths=(64,), seed=i), layout=LAYOUT)
            update = play(client, truth, rng=derive(i, "round"), defense=defense)
            size[row] = update.wire_bytes
            for name, attack in attacks.items():
                for who, one in (("naive", attack), ("informed", defense.informed(attack))):
                    if one is None:
                        continue
                    guess = one.run(update, derive(i, name))
                    right = float(guess["y"].item() == truth["y"].item()) if name == "labels" else None
                    value = float(psnr(guess["x"].clamp(0, 1), truth["x"])) if right is None else right
                    figures.setdefault((row, name, who), []).append(value)
        print(f"{row}: {time.time() - start:.0f} s", file=sys.stderr, flush=True)
    return figures, size


def entry(name: str, values: list[float] | None) -> str:
    """One figure with its interval, as the table shows it."""
    if values is None:
        return "as naive"
    if name == "labels":
        rate = clopper_pearson(int(sum(values)), len(values))
        return f"{rate.value:.0%} [{rate.lower:.0%}, {rate.upper:.0%}]"
    middle = median_interval(values)
    return f"{middle.value:.1f} [{middle.lower:.1f}, {middle.upper:.1f}]"


def table(figures: Figures, size: dict[str, int], attacks: dict[str, Attack]) -> None:
    columns = [(name, who) for name in attacks for who in ("naive", "informed")]
    print("| sent | bytes | " + " | ".join(f"{name}, {who}" for name, who in columns) + " |")
    print("|---" * (len(columns) + 2) + "|")
    for row in ROWS:
        entries = [entry(name, figures.get((row, name, who))) for name, who in columns]
        print(f"| {row} | {size[row]} | " + " | ".join(entries) + " |")


def verdicts(figures: Figures, attacks: dict[str, Attack]) -> bool:
    """Prints what was to be shown, and whether it was."""
    claim, passed = "8 bits, one range", []

    def line(text: str, ok: bool) -> None:
        passed.append(ok)
        print(f"{'PASS' if ok else 'MISS'}  {text}")

    for who in ("naive", "informed") if "LinearBias" in attacks else ():
        middle = median_interval(figures[claim, "LinearBias", who])
        text = f"{claim}, LinearBias {who}: median {middle.value:.1f} dB [{middle.lower:.1f}, {middle.upper:.1f}]"
        line(f"{text}, n = {middle.n}, threshold {LEAST_DB} dB", middle.value >= LEAST_DB)
    for who in ("naive", "informed") if "labels" in attacks else ():
        right = figures[claim, "labels", who]
        line(f"{claim}, labels {who}: {sum(right):.0f} of {len(right)}, threshold all", all(right))
    for name in attacks:
        if name == "labels":
            continue
        gains = {
            row: statistics.mean(figures[row, name, "informed"]) - statistics.mean(figures[row, name, "naive"])
            for row in ROWS
            if (row, name, "informed") in figures
        }
        worst = min(gains, key=lambda row: gains[row])
        text = (
            f"{name}: knowing the quantizer gains {min(gains.values()):+.1f} ({worst}) to {max(gains.values()):+.1f} dB"
        )
        line(f"{text} on average, threshold {-TOLERANCE_DB} dB in every row", gains[worst] >= -TOLERANCE_DB)
    return all(passed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=500, help="of InvertingGradients")
    parser.add_argument("--attacks", nargs="+", choices=CHOICES, default=CHOICES)
    parser.add_argument("--part", choices=["test", "train"], default="test", help="pictures to attack")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    attacks: dict[str, Attack] = {
        "LinearBias": LinearBias(),
        "InvertingGradients": InvertingGradients(
            iterations=settings.iterations, priors=(TotalVariation(weight=SMOOTH),), labels=RowSum()
        ),
        "labels": RowSum(),
    }
    attacks = {name: attacks[name] for name in settings.attacks}
    private, public = mnist(settings.part).take(slice(0, settings.images)), mnist("train")["x"][-10_000:]
    figures, size = measure(private, attacks)
    blind = [float(psnr(public.mean(0, keepdim=True), x[None])) for x in private["x"]]
    print(f"PSNR in dB: median with its interval between order statistics; labels: exact interval; n = {private.size}.")
    print(f"Without any gradient, the mean picture of 10,000 others: {entry('', blind)} dB.\n")
    table(figures, size, attacks)
    print()
    return 0 if verdicts(figures, attacks) else 1


if __name__ == "__main__":
    sys.exit(main())
