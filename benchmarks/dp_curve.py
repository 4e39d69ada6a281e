"""Leak and accuracy against epsilon: DP-SGD on handwritten digits, from no noise to much.

    python benchmarks/dp_curve.py accuracy [--seeds 3]
    python benchmarks/dp_curve.py leak [--draws 20]

Accuracy: four clients with a quarter of the training digits each, LeNet (ReLU), 20 rounds of 10 Poisson-sampled local
steps at rate 0.1, `DPSGD` in every step; epsilon (delta 1e-5) is that of one example over all 200 steps. Leak: what the
server reads off one step of a client with one example, under the same C and z, by attackers who know of the defense; its
epsilon is that of this one step. Settings were fixed beforehand; nothing was tuned.
"""

from __future__ import annotations

import argparse
import math
from statistics import median

import torch

from gradiometer import data
from gradiometer.attacks.image import InvertingGradients, LinearBias, Recursive
from gradiometer.core import Attack, Client, Data, Defense, NotApplicable, Recipe, Threat, derive, play
from gradiometer.defenses import DPSGD
from gradiometer.federation import federate
from gradiometer.models import lenet, mlp
from gradiometer.numerics.intervals import median_interval

BOUND, RATE, STEPS, ROUNDS, CLIENTS = 1.0, 0.1, 10, 20, 4
NOISE = (0.0, 1e-4, 1e-3, 1e-2, 1e-1, 0.5, 1.0, 2.0)
SHAPE = (1, 16, 16)
ATTACKS: dict[str, tuple[Attack, str]] = {
    "LinearBias": (LinearBias(), "mlp"),
    "Recursive": (Recursive(), "lenet"),
    "InvertingGradients": (InvertingGradients(iterations=300), "lenet"),
}


def private(noise: float, rate: float) -> Defense:
    return DPSGD(bound=BOUND, noise_multiplier=noise, rate=rate)


def accuracy(options: argparse.Namespace) -> None:
    digits = data.digits(16)
    train, test = digits.public, digits.test
    assert train is not None
    assert test is not None
    recipe = Recipe(sends="delta", examples=train.size, epochs=STEPS, lr=0.5)
    for noise in (None, *options.noise):
        defense = Defense() if noise is None else private(noise, RATE)
        reached = []
        for seed in range(options.seeds):
            client = Client(model=lenet(SHAPE, 10, activation="relu", seed=seed), layout=digits.layout, recipe=recipe)
            done = federate(
                client, train, test, defense=defense, clients=CLIENTS, rounds=ROUNDS, alpha=100.0, seed=seed
            )
            reached.append(100 * done.accuracy[-1])
        epsilon = defense.epsilon(recipe=recipe, threat=Threat(rounds=ROUNDS))
        print(
            f"{'no DP' if noise is None else f'z = {noise:g}'}: epsilon {'none' if epsilon is None else f'{epsilon:.3g}'}, "
            f"accuracy median {median(reached):.1f} %, {min(reached):.1f} to {max(reached):.1f} (n = {options.seeds} seeds, "
            f"{train.size} training and {test.size} test digits)",
            flush=True,
        )


def leak(options: argparse.Namespace) -> None:
    digits = data.digits(16)
    mean = digits.public["x"].mean(0) if digits.public is not None else torch.zeros(SHAPE)
    blind = median(psnr(mean, digits.private["x"][i]) for i in range(options.draws))
    print(f"mean digit: {blind:.1f} dB (n = {options.draws})", flush=True)
    for noise in options.noise:
        defense = private(noise, 1.0)
        epsilon = defense.epsilon()
        for name, (attack, victim) in ATTACKS.items():
            if options.only and name not in options.only:
                continue
            found = [reach(attack, victim, defense, digits, i) for i in range(options.draws)]
            told = [value for value in found if value is not None]
            line = "names no picture"
            if told:  # where an attack does not, the mean digit stands for it
                middle = median_interval([value if value is not None else blind for value in found])
                line = f"median {middle.value:.1f} dB [{middle.lower:.1f}, {middle.upper:.1f}], best {max(told):.1f}"
                line += f", no picture {len(found) - len(told)} times" if len(told) < len(found) else ""
            stated = "none" if epsilon is None else f"{epsilon:.3g}"
            print(f"z = {noise:g}, epsilon {stated}, {name} on {victim}: {line} (n = {options.draws})", flush=True)


def reach(attack: Attack, victim: str, defense: Defense, digits: Data, i: int) -> float | None:
    """PSNR of the informed attack on one digit; None where it names no picture."""
    make = mlp(SHAPE, 10, widths=(64,), seed=i) if victim == "mlp" else lenet(SHAPE, 10, activation="relu", seed=i)
    client = Client(model=make, layout=digits.layout)
    batch = digits.private.take([i])
    update = play(client, batch, rng=derive(21, i), defense=defense, threat=Threat(labels=True))
    try:
        guess = (defense.informed(attack) or attack).run(update, derive(22, i))
    except NotApplicable:
        return None
    return psnr(guess["x"][0], batch["x"][0]) if "x" in guess else None


def psnr(guess: torch.Tensor, truth: torch.Tensor) -> float:
    """On pixels in [0,1], cut at 100 dB."""
    error = float((guess.clamp(0, 1) - truth).square().mean())
    return min(100.0, -10 * math.log10(max(error, 1e-30)))


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("accuracy", "leak"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--noise", type=float, nargs="*", default=NOISE, help="z")
    parser.add_argument("--only", nargs="*", help="names of attacks")
    options = parser.parse_args()
    accuracy(options) if options.what == "accuracy" else leak(options)


if __name__ == "__main__":
    main()
