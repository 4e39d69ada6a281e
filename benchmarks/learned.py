"""What attackers gain who learn from defended updates of public pictures, over those who take what was sent for the gradient.

    GRADIOMETER_DATA=... python benchmarks/learned.py [--victim mnist cifar lenet] [--learners ridge denoised network] [--cases sign ternary]

Victims, untrained, batch 1, three sets of weights that share the pictures: `mnist`, a perceptron 784-64-10 on test pictures,
`cifar`, a perceptron 3072-64-10 on `cifar10_test3000`, and `lenet`, the LeNet of DLG on MNIST. Public pictures are training ones; of
those that an attacker learns from, one in five is held out, and all its choices are made on them. Naive: `LinearBias`, or
for `lenet` `InvertingGradients`, on what was sent. Learners (--learners) know the defense: `ridge` is `RidgeInversion`, `denoised`
a U-Net behind the informed naive attack (for `lenet`, where that is a search, of 100 pictures), `network` `LearningToInvert`. Which of them an attacker would take is read off the public
pictures held out. The gain is that of the same picture, its interval that of the median.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass
from statistics import mean

import torch

from cifar import PLAIN, pictures
from gradiometer.attacks.image import InvertingGradients, LinearBias
from gradiometer.attacks.inference import RowSum
from gradiometer.attacks.learned import Denoised, LearningToInvert, RidgeInversion
from gradiometer.core import Attack, Batch, Client, Defense, NotApplicable, derive, play
from gradiometer.defenses import QSGD, GaussianNoise, Quantize, Sign, Ternary, TopK
from gradiometer.metrics.image import psnr
from gradiometer.models import lenet, mlp
from gradiometer.numerics.intervals import Interval, median_interval
from gradiometer.numerics.priors import TotalVariation
from quantization import LAYOUT, mnist

CASES: dict[str, Defense] = {
    "8 bits": Quantize(bits=8),
    "4 bits": Quantize(bits=4),
    "3 bits": Quantize(bits=3),
    "2 bits": Quantize(bits=2),
    "sign": Sign(),
    "ternary": Ternary(),
    "QSGD, 4 bits": QSGD(bits=4, bucket=None),
    "top 10 %": TopK(keep=0.1),
    "top 1 %": TopK(keep=0.01),
    "noise 0.01": GaussianNoise(std=0.01),
    "noise 0.1": GaussianNoise(std=0.1),
}
LEARNERS = ("ridge", "denoised", "network")
SEEDS = 3
LEAST_DB = 2.0
DEGRADED_DB = 30.0
"""A transform that leaves the naive attacker less than this has degraded its pictures."""


def data(victim: str) -> tuple[Batch, Batch]:
    """Private and public pictures."""
    if victim == "cifar":
        return pictures("cifar10_test3000", PLAIN), pictures("cifar10_train8000", PLAIN)
    return mnist("test"), mnist("train").take(slice(-10_000, None))


def client(victim: str, seed: int) -> Client:
    if victim == "cifar":
        return Client(model=mlp((3, 32, 32), 10, widths=(64,), seed=seed), layout=PLAIN)
    model = lenet((1, 28, 28), 10, seed=seed) if victim == "lenet" else mlp((1, 28, 28), 10, widths=(64,), seed=seed)
    return Client(model=model, layout=LAYOUT)


def attackers(victim: str, defense: Defense, options: argparse.Namespace) -> dict[str, Attack]:
    """By name, the naive one first."""
    smooth = InvertingGradients(iterations=options.iterations, priors=(TotalVariation(weight=0.003),), labels=RowSum())
    naive: Attack = smooth if victim == "lenet" else LinearBias()
    searched = min(options.examples, 100) if victim == "lenet" else options.examples
    learners: dict[str, Attack] = {
        "ridge": RidgeInversion(examples=options.examples),
        "denoised": Denoised(attack=naive, examples=searched),
        "network": LearningToInvert(examples=options.examples, epochs=options.epochs),
    }
    found = {name: learners[name].simulating(defense) or learners[name] for name in options.learners}
    told = defense.informed(naive)
    return {"naive": naive, **({"informed": told} if told is not None else {}), **found}


@dataclass(frozen=True)
class Seen:
    """Of every private picture, PSNR in dB, and what the attacker expected of public ones."""

    figures: list[float]
    expected: list[float]


def case(victim: str, defense: Defense, options: argparse.Namespace) -> dict[str, Seen]:
    """By attacker."""
    private, public = data(victim)
    found: dict[str, Seen] = {}
    for i in range(options.images):
        truth = private.take([i])
        update = play(client(victim, i % SEEDS), truth, rng=derive(i, "round"), defense=defense, public=public)
        for name, attack in attackers(victim, defense, options).items():
            try:
                guess = attack.run(update, derive(i, name))
                shown, expected = guess["x"].clamp(0, 1), guess.notes.get("held_out", math.nan)
            except NotApplicable:
                shown, expected = public["x"].mean(0, keepdim=True), -math.inf
            seen = found.setdefault(name, Seen([], []))
            seen.figures.append(float(psnr(shown, truth["x"])))
            seen.expected.append(expected)
    return found


def told(interval: Interval) -> str:
    return f"{interval.value:.1f} [{interval.lower:.1f}, {interval.upper:.1f}]"


def main() -> int:
    """Prints a row a case, and whether what was to be shown is."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--victim", nargs="+", choices=["mnist", "cifar", "lenet"], default=["mnist"])
    parser.add_argument("--cases", nargs="+", choices=[*CASES], default=[*CASES])
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--iterations", type=int, default=300, help="of InvertingGradients")
    parser.add_argument("--learners", nargs="+", choices=LEARNERS, default=["ridge", "denoised"])
    parser.add_argument("--epochs", type=int, default=30, help="of the network")
    options = parser.parse_args()
    passed = []
    columns = ["naive", "informed", *options.learners]
    print(f"PSNR in dB, median with its interval; gain of the chosen learner over naive; n = {options.images}")
    print("| victim | sent | " + " | ".join(columns) + " | chosen | gain | |")
    print("|---" * (len(columns) + 5) + "|")
    for victim in options.victim:
        private, public = data(victim)
        mean_picture = public["x"].mean(0, keepdim=True)
        blind = [float(psnr(mean_picture, private["x"][i : i + 1])) for i in range(options.images)]
        print(f"| {victim} | nothing: the mean public picture | {told(median_interval(blind))} |", flush=True)
        for name in options.cases:
            start = time.process_time()
            found = case(victim, CASES[name], options)
            medians = {who: median_interval(seen.figures) for who, seen in found.items()}
            best = max((who for who in found if who in LEARNERS), key=lambda who: mean(found[who].expected))
            gain = median_interval([a - b for a, b in zip(found[best].figures, found["naive"].figures)])
            degraded = medians["naive"].value < DEGRADED_DB
            verdict = ("PASS" if gain.value >= LEAST_DB else "MISS") if degraded else "not degraded"
            passed.append(verdict != "MISS")
            shown = [told(medians[who]) if who in medians else "as naive" for who in columns]
            print(f"| {victim} | {name} | " + " | ".join(shown) + f" | {best} | {told(gain)} | {verdict} |", flush=True)
            print(f"{victim}, {name}: {time.process_time() - start:.0f} s", file=sys.stderr, flush=True)
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
