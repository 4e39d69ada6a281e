"""SPEAR on CIFAR-10: whole batches from the gradient of a ReLU perceptron, without labels or batch size.

    GRADIOMETER_DATA=... python benchmarks/spear.py
    GRADIOMETER_DATA=... python benchmarks/spear.py --cases 24x400 32x400 48x800 64x800 --draws 5
    GRADIOMETER_DATA=... python benchmarks/spear.py --fedavg --cases 4x200 8x200
    GRADIOMETER_DATA=... python benchmarks/spear.py --noise 1e-6 1e-4 1e-3 1e-2 --cases 4x200 8x200 16x400

A case is batch size x width of two hidden layers (torch's default weights, others each draw). Gradients are torch's in float32.
`--fedavg` is one epoch of local steps of two examples each (lr 0.01), of which the client sends the change of weights. A
noise level is relative to the root mean square of each tensor. Printed are PSNR over all pictures, draws that are exact
(every picture at 100 dB or more), draws that the attack certifies, right labels, and CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import time

import torch

from cifar import LAYOUT, pictures
from gradiometer.attacks.image import SPEAR
from gradiometer.core import Client, Defense, Guess, NotApplicable, Recipe, Threat, derive, play
from gradiometer.defenses import GaussianNoise
from gradiometer.models import mlp
from gradiometer.numerics.intervals import median_interval, wilson
from recursion import scores

EXACT = 100.0


def row(batch: int, width: int, options: argparse.Namespace, noise: float) -> bool:
    """Prints one row; gives whether all draws are exact and certified."""
    data = pictures(options.sheet, LAYOUT)
    recipe = Recipe(sends="delta", batch_size=2, lr=0.01) if options.fedavg else Recipe(examples=batch)
    threat = Threat(batch_size=options.fedavg, recipe=options.fedavg, buffers=False, public=False)
    defense = GaussianNoise(std=noise, relative=True) if noise else Defense()
    found: list[float] = []
    seconds: list[float] = []
    exact = certified = labels = wrong = 0
    match: list[float] = []
    for i in range(options.draws):
        private = data.take(torch.randperm(data.size, generator=derive(3, batch, i))[:batch].tolist())
        client = Client(model=mlp((3, 32, 32), 10, widths=(width, width), seed=i), layout=LAYOUT, recipe=recipe)
        update = play(client, private, rng=derive(0, i), threat=threat, defense=defense)
        start = time.process_time()
        attack = SPEAR(starts=options.starts)
        try:
            guess = (defense.informed(attack) or attack).run(update, derive(1, i))
        except NotApplicable as refusal:
            guess = Guess(tensors={}, notes={"exact": False, "refusal": refusal.message})
        seconds.append(time.process_time() - start)
        values = scores(guess, private)
        found += values
        good = min(values) >= EXACT
        match.append(0.0 if guess.confidence is None else float(guess.confidence.min()))
        exact, certified, wrong = (
            exact + good,
            certified + guess.notes["exact"],
            wrong + (guess.notes["exact"] and not good),
        )
        labels += "y" in guess and sorted(guess["y"].tolist()) == sorted(private["y"].tolist())
        if options.verbose:
            print(f"  {i}: {min(values):.1f} dB, {seconds[-1]:.1f} s, {dict(guess.notes)}", flush=True)
    middle, share = median_interval(found), wilson(exact, options.draws)
    print(
        f"batch {batch}, width {width}{f', noise {noise:g}' if noise else ''}: median {middle.value:.1f} dB "
        f"[{middle.lower:.1f}, {middle.upper:.1f}] (n = {len(found)}), worst {min(found):.1f}, exact {exact} of {options.draws} "
        f"[{share.lower:.2f}, {share.upper:.2f}], certified {certified}, of these not exact {wrong}, labels {labels}, "
        f"certificate median {sorted(match)[len(match) // 2]:.4f}, worst {min(match):.4f}, "
        f"median {sorted(seconds)[len(seconds) // 2]:.2f} s, longest {max(seconds):.1f} s",
        flush=True,
    )
    return exact == certified == options.draws


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="*", default=["4x200", "8x200", "12x200", "16x400", "20x400", "20x800"])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--starts", type=int, default=SPEAR.starts)
    parser.add_argument("--noise", type=float, nargs="*", default=[0.0])
    parser.add_argument("--fedavg", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--sheet", default="cifar10_test3000")
    options = parser.parse_args()
    good = [
        row(int(batch), int(width), options, noise)
        for batch, width in (case.split("x") for case in options.cases)
        for noise in options.noise
    ]
    raise SystemExit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
