"""What federated dropout saves, costs and protects: bytes, accuracy, and what is read off the smaller model's gradient.

    python benchmarks/federated_dropout.py --seeds 5 --pictures 20

A ReLU LeNet on handwritten digits of 16x16 pixels. Accuracy: four clients of 32 examples a round, `w <- w - lr mean(g)`, every coordinate
averaged over the clients that had it. Leak: `Recursive` on the gradient of one digit, adapted to the defense; the
share of digits recovered above 40 dB with its 95 % Clopper-Pearson interval, and the median.
"""

from __future__ import annotations

import argparse
import statistics

import torch

from gradiometer import data
from gradiometer.attacks.image import Recursive
from gradiometer.core import Client, Data, GradiometerError, Recipe, Threat, derive, play
from gradiometer.defenses import FederatedDropout
from gradiometer.federation import federate
from gradiometer.models import lenet
from gradiometer.numerics.intervals import clopper_pearson, median_interval

SHAPE = (1, 16, 16)


def psnr(defense: FederatedDropout, digits: Data, number: int) -> float:
    """Of one digit, in dB; 0 where the attack gives up."""
    model = lenet(SHAPE, 10, activation="relu", seed=number)
    client = Client(model=model, layout=digits.layout, recipe=Recipe())
    update = play(client, digits.private.take([number]), rng=derive(number), threat=Threat(), defense=defense)
    attack = defense.informed(Recursive()) or Recursive()
    try:
        guess = attack.run(update, derive(number, "attack"))
    except GradiometerError:
        return 0.0
    if "x" not in guess or len(guess["x"]) != 1:
        return 0.0
    field = digits.layout["x"]
    gap = field.denormalize(guess["x"]) - field.denormalize(digits.private["x"][number : number + 1])
    return float(-10 * gap.square().mean().clamp_min(1e-15).log10())


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=float, nargs="*", default=[0.0, 0.25, 0.5, 0.75])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--lr", type=float, default=0.5)
    parser.add_argument("--pictures", type=int, default=20)
    options = parser.parse_args()
    digits = data.digits(16)
    assert digits.public is not None
    assert digits.test is not None
    plain: list[float] = []
    for rate in options.rates:
        reached, sent = [], 0
        for seed in range(options.seeds):
            model = lenet(SHAPE, 10, activation="relu", seed=seed)
            client = Client(model=model, layout=digits.layout, recipe=Recipe(examples=32))
            done = federate(
                client,
                digits.public,
                digits.test,
                defense=FederatedDropout(rate=rate),
                rounds=options.rounds,
                lr=options.lr,
                seed=seed,
            )
            reached.append(100 * done.accuracy[-1])
            sent = done.uplink_bytes
        plain = plain or reached
        all_of, cost = median_interval(reached), median_interval([p - r for p, r in zip(plain, reached)])
        print(
            f"rate {rate:g}: accuracy {all_of.value:.1f} % [{all_of.lower:.1f}, {all_of.upper:.1f}], cost {cost.value:.1f} "
            f"points [{cost.lower:.1f}, {cost.upper:.1f}] (n = {options.seeds} seeds), {sent / options.rounds / 4e3:.1f} kB a message",
            flush=True,
        )
        for mask in ("server", "client") if rate else ("server",):
            found = [psnr(FederatedDropout(rate=rate, mask=mask), digits, i) for i in range(options.pictures)]
            hits = clopper_pearson(sum(value > 40 for value in found), len(found))
            print(
                f"rate {rate:g}, mask of the {mask}: {hits.value:.0%} [{hits.lower:.0%}, {hits.upper:.0%}] above 40 dB, "
                f"median {statistics.median(found):.1f} dB (n = {len(found)})",
                flush=True,
            )


if __name__ == "__main__":
    main()
